"""The first program: one task, in a process of its own."""

import time

import miniray as ray

ray.init(num_workers=1)


@ray.remote
def add(a, b):
    print(f"computing {a} + {b}")
    return a + b


ref = add.remote(3, 5)
time.sleep(2)
print(f"Result: {ray.get(ref)}")
ray.shutdown()
