"""Generators read in event loops."""

import asyncio

import pytest

pytestmark = pytest.mark.usefixtures("shared_session")


def test_async_for(ray, count):
    async def read():
        return [await ref async for ref in count.remote(3)]

    assert asyncio.run(read()) == [0, 1, 2]


def test_async_for_of_several_at_once(ray, count):
    async def read(number):
        return [await ref async for ref in count.remote(number)]

    async def read_all():
        return await asyncio.gather(read(3), read(4))

    assert asyncio.run(read_all()) == [[0, 1, 2], [0, 1, 2, 3]]


def test_anext_waits_and_then_ends(ray, gated, gate):
    async def read():
        generator = gated.remote(gate)
        assert generator.__aiter__() is generator
        found = [await (await generator.__anext__())]
        waiting = asyncio.ensure_future(generator.__anext__())
        await asyncio.sleep(0)
        assert not waiting.done()
        gate.open()
        found.append(await (await waiting))
        with pytest.raises(StopAsyncIteration):
            await generator.__anext__()
        return found

    assert asyncio.run(read()) == [1, 2]


def test_async_for_over_an_error(ray, count):
    async def read():
        found = []
        async for ref in count.remote(3, 1):
            try:
                found.append(await ref)
            except KeyError:
                found.append("error")
        return found

    assert asyncio.run(read()) == [0, "error"]
