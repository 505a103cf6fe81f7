"""The engines that are measured, each in a process of its own; peers are optional."""

from benchmarks.engines.base import Engine
from benchmarks.engines.dask import Dask
from benchmarks.engines.floor import Floor
from benchmarks.engines.pools import Executor, Loky, Pool
from benchmarks.engines.ray_like import Miniray, Ray

ENGINES: dict[str, type[Engine]] = {engine.name: engine for engine in (Miniray, Ray, Pool, Executor, Loky, Dask, Floor)}
