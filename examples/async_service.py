"""A service in one async actor: hundreds of requests at once, a cache, work done by tasks, requests given up.

The actor only waits: for tasks that compute, for an answer that another request asked for, for the clock. So one
process serves all. Clients are threads here; they could be tasks or actors.
"""

import asyncio
import threading

import miniray as ray


@ray.remote
def count_divisors(number):
    return sum(number % divisor == 0 for divisor in range(1, number + 1))


@ray.remote(num_cpus=0, max_concurrency=1000)
class Service:
    """Answers requests; each number is computed once."""

    def __init__(self):
        self.answers = {}  # number -> future
        self.at_once = self.most_at_once = 0

    async def get(self, path):
        """Answer a request like ``/divisors/360``; status and answer."""
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            _, what, number = path.split("/")
            if what == "divisors":
                return 200, await self.divisors(int(number))
            if what == "slow":
                await asyncio.sleep(float(number))
                return 200, "awake"
            return 404, f"no such page: {path}"
        finally:
            self.at_once -= 1

    async def divisors(self, number):
        if number not in self.answers:
            self.answers[number] = asyncio.ensure_future(count_divisors.remote(number))
        return await self.answers[number]

    async def statistics(self):
        """Return how many answers were computed, how many requests run, and how many did at most."""
        return len(self.answers), self.at_once, self.most_at_once


def client(service, answers):
    """Send many requests, then wait for their answers."""
    refs = [service.get.remote(f"/divisors/{5000 + number % 50}") for number in range(300)]
    answers.extend(ray.get(refs))


def main():
    ray.init(num_cpus=2)
    service = Service.remote()
    answers = []
    sleeping = service.get.remote("/slow/3600")  # disturbs nobody
    clients = [threading.Thread(target=client, args=(service, answers)) for _ in range(3)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    computed, _, most = ray.get(service.statistics.remote())
    print(f"{len(answers)} requests answered, all right: {all(status == 200 for status, _ in answers)}")
    print(f"{computed} answers computed; at most {most} requests at once")
    print("unknown page:", ray.get(service.get.remote("/who/1")))
    ray.cancel(sleeping)
    try:
        ray.get(sleeping)
    except ray.exceptions.TaskCancelledError:
        print("the request that slept was given up; running now:", ray.get(service.statistics.remote())[1])
    ray.shutdown()


if __name__ == "__main__":
    main()
