"""A tree search with nested tasks: solutions of the queens puzzle, and the first one by an actor that shares the news.

A task places a queen in the next row; down to a depth it starts a task for each free column, below that it searches by
itself. A task that waits for others lends its CPU, so the tree may be wider and deeper than there are processors.
"""

import argparse

import miniray as ray

SPLIT_ROWS = 2  # rows whose columns are tasks of their own


@ray.remote(num_cpus=0)
class News:
    """Remembers the first solution that somebody found."""

    def __init__(self):
        self.solution = None

    def tell(self, columns):
        """Keep a solution if it is the first."""
        self.solution = self.solution or columns

    def read(self):
        """Return it."""
        return self.solution


def free_columns(size, columns):
    """Return the columns of the next row that no queen reaches."""
    row = len(columns)
    return [
        column
        for column in range(size)
        if all(column != other and abs(column - other) != row - place for place, other in enumerate(columns))
    ]


def solutions(size, columns):
    """Yield the solutions that begin like this."""
    if len(columns) == size:
        yield columns
    for column in free_columns(size, columns):
        yield from solutions(size, (*columns, column))


@ray.remote
def search(size, columns, news):
    """Return how many solutions begin like this; tell the first."""
    if len(columns) < SPLIT_ROWS:
        return sum(ray.get([search.remote(size, (*columns, column), news) for column in free_columns(size, columns)]))
    found = list(solutions(size, columns))
    if found:
        news.tell.remote(found[0])
    return len(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=10)
    options = parser.parse_args()

    ray.init(num_cpus=2)
    news = News.remote()
    count = ray.get(search.remote(options.size, (), news))
    print(f"{count} ways to place {options.size} queens; the first that was found:")
    for column in ray.get(news.read.remote()):
        print(" ".join("Q" if place == column else "." for place in range(options.size)))
    ray.shutdown()


if __name__ == "__main__":
    main()
