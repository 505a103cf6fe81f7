# _task_error.py - RayError, and the error that carries an exception of user code from the worker to the caller.
#
# Invariants  T1 a RayError survives pickle: it is restored from type, args and __dict__, its __init__ is not run again,
#                so keyword arguments and subclasses with other parameters travel too.
#             T2 a RayTaskError can always be pickled and unpickled: its cause travels as bytes of its own; one that
#                pickle refuses becomes a RayError, one that cannot be rebuilt an UnserializableException; both hold the
#                text.
#             T3 cause is never a RayTaskError: of nested tasks it is the first exception, the text tells every hop.
#             T4 no code of the user's type runs when it is combined with RayTaskError, but for __init_subclass__ and
#                metaclasses.
#             T5 this module is a leaf below exceptions.py, which is where users see these classes (__module__ says so).
# Source      Ray 2.60.0, python/ray/exceptions.py, for names and texts; the machinery is our own.
"""``RayError``, ``RayTaskError`` and how an error becomes an instance of the user's exception type too."""

from __future__ import annotations

import copyreg
import os
import pickle
import sys
import types
import weakref
from contextlib import suppress
from typing import Any, ClassVar

__all__ = ["RayError", "RayTaskError", "UnserializableException", "dump_cause", "safe_text", "unpicklable_cause"]

_PUBLIC_MODULE = "miniray.exceptions"


class RayError(Exception):
    """Super class of all errors of miniray and Ray."""

    def __str__(self) -> str:
        """Return the message: what failed, the likely cause, the next step."""
        return self._text()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by type, args and attributes, without a second run of ``__init__``."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__ or None  # type: ignore[attr-defined]

    def _text(self) -> str:
        """Return the text of the arguments; subclasses with facts of their own override this."""
        return super().__str__()


class UnserializableException(RayError):
    """The exception of a task could be pickled but not rebuilt; the text tells what it said."""

    def __init__(self, original_stack_trace: str) -> None:
        """Keep the text of the original exception with its traceback."""
        self._original_stack_trace = original_stack_trace

    def _text(self) -> str:
        return (
            "Failed to deserialize exception. A likely cause is an __init__ whose parameters differ from what it "
            "passes to super().__init__(); give the class a __reduce__ method that names them.\n"
            f"Original exception:\n{self._original_stack_trace}"
        )


class RayTaskError(RayError):
    """A task raised an exception; ``get`` raises this error in its place.

    ``get`` raises :meth:`as_instanceof_cause`, which is a RayTaskError and an instance of the user's type as well.

    Args:
        function_name: The task that failed.
        traceback_str: The remote traceback, with the text of every hop that the error took.
        cause: The exception that user code raised, never a RayTaskError itself.
        proctitle: Title of the worker process, ``ray::function_name`` by default.
        pid: Process that ran the task, this one by default.
        ip: Address of that process; this machine by default.
        actor_repr: ``repr`` of the actor whose method failed, if it was one.
        actor_id: Its id in hex.
    """

    def __init__(
        self,
        function_name: str,
        traceback_str: str,
        cause: BaseException,
        proctitle: str | None = None,
        pid: int | None = None,
        ip: str | None = None,
        actor_repr: str | None = None,
        actor_id: str | None = None,
    ) -> None:
        """Keep the facts; see the class."""
        self.function_name = function_name
        self.traceback_str = traceback_str
        self.proctitle = proctitle or f"ray::{function_name}"
        self.pid = pid or os.getpid()
        self.ip = ip or "127.0.0.1"
        self.actor_repr = actor_repr
        self._actor_id = actor_id
        self.cause = cause
        self.args = (function_name, traceback_str, cause, proctitle, pid, ip)

    def __str__(self) -> str:
        """Return the remote traceback, each header replaced by the process that it comes from."""
        origin = f"{self.proctitle}() (pid={self.pid}, ip={self.ip}"
        origin += f", actor_id={self._actor_id}, repr={self.actor_repr})" if self.actor_repr else ")"
        lines = self.traceback_str.strip("\n").split("\n")
        return "\n".join(origin if line.startswith("Traceback ") else line for line in lines)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the cause as bytes of its own (X4)."""
        state = {name: value for name, value in self.__dict__.items() if name not in ("cause", "_cause_payload")}
        payload = self.__dict__.get("_cause_payload")
        if payload is None:
            payload = dump_cause(self.cause, self.traceback_str)
        return _restore_task_error, (type(self), state, payload)

    def make_dual_exception_instance(self) -> RayTaskError:
        """Return an error that is a RayTaskError and an instance of the type of the cause.

        Raises:
            Exception: The type of the cause cannot be subclassed or built, mostly a TypeError.
        """
        dual_type = _dual_type(type(self.cause))
        dual = _new_instance(dual_type, self.cause)
        dual._attach(self)
        return dual

    def as_instanceof_cause(self) -> RayTaskError:
        """Return an error that is also an instance of the cause's type, and has its attributes.

        Where that type forbids it, a warning is logged and this error itself returned; ``.cause`` is there either way.
        """
        try:
            if issubclass(RayTaskError, type(self.cause)):
                return self
            return self.make_dual_exception_instance()
        except Exception as problem:
            import logging  # a slow import that a program without this problem does not pay

            logging.getLogger("miniray").warning(
                "The exception type %s of a failed task cannot be combined with RayTaskError (%s: %s). A plain "
                "RayTaskError is raised; the exception itself is in its attribute 'cause'.",
                type(self.cause).__qualname__, type(problem).__name__, problem,
            )  # fmt: skip
            return self


class _DualTaskError(RayTaskError):
    """Base of ``RayTaskError(X)``, made by :func:`_dual_type` beside the user's type X.

    Attributes are looked up here and in X first, then in the cause, then in the plain RayTaskError.
    """

    _ray_cause_type: ClassVar[type[BaseException]]

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Build one around a fresh exception of the user's type, for code like ``raise type(error)("new text")``."""
        cause = self._ray_cause_type(*args, **kwargs)
        self._attach(RayTaskError("", str(cause), cause))

    def _attach(self, plain: RayTaskError) -> None:
        """Take over the error and the attributes of its cause; bypasses a ``__setattr__`` of the user's type."""
        cause = plain.cause
        fields: dict[str, Any] = object.__getattribute__(self, "__dict__")
        fields.update(cause.__dict__)
        # The package exceptiongroup, for Python 3.10, reads message and members of a group from its args.
        is_backport = sys.version_info < (3, 11) and _is_group(type(cause))
        arguments = cause.args if is_backport else (cause,)
        fields.update(cause=cause, _ray_task_error=plain, _ray_task_error_args=arguments)
        for owner in type(cause).__mro__:
            if owner in (Exception, BaseException, object):
                continue
            for name, slot in vars(owner).items():  # fields that C code or __slots__ hold: errno, start, code, ...
                if isinstance(slot, types.MemberDescriptorType | types.GetSetDescriptorType) and name[:2] != "__":
                    with suppress(Exception):
                        slot.__set__(self, slot.__get__(cause))

    @property
    def args(self) -> tuple[Any, ...]:  # a type may define args as read-only
        """The cause, in a tuple, as in Ray."""
        args: tuple[Any, ...] = object.__getattribute__(self, "__dict__").get("_ray_task_error_args", ())
        return args

    @args.setter
    def args(self, value: tuple[Any, ...]) -> None:
        object.__getattribute__(self, "__dict__")["_ray_task_error_args"] = value

    def __getattr__(self, name: str) -> Any:  # whatever the user's type has
        """Return what only the cause or the plain error has."""
        plain = object.__getattribute__(self, "__dict__").get("_ray_task_error")
        if plain is None or name.startswith("_ray_"):
            raise AttributeError(name)
        try:
            return getattr(plain.cause, name)
        except AttributeError:
            return getattr(plain, name)

    def __str__(self) -> str:
        """Return the remote traceback."""
        return str(object.__getattribute__(self, "__dict__").get("_ray_task_error", ""))

    def __repr__(self) -> str:
        """Return the type and the cause."""
        return f"{type(self).__name__}({object.__getattribute__(self, '__dict__').get('cause')!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the plain error, combined again on arrival."""
        return _restore_dual, (object.__getattribute__(self, "__dict__")["_ray_task_error"],)


# One type per user's type, as long as something uses it. The key is an id: some classes cannot be hashed, and the type
# in the entry keeps its bases alive, so that no other type can have that id.
_dual_types: weakref.WeakValueDictionary[int, type[_DualTaskError]] = weakref.WeakValueDictionary()


def _dual_type(cause_type: type[BaseException]) -> type[_DualTaskError]:
    """Return the class ``RayTaskError(X)`` for a user's class X."""
    cached = _dual_types.get(id(cause_type))
    if cached is not None:
        return cached
    name = f"RayTaskError({cause_type.__name__})"
    body = {"__module__": _PUBLIC_MODULE, "__qualname__": name, "_ray_cause_type": cause_type}
    bases = (_DualTaskError, cause_type)
    dual_type: type[_DualTaskError] = types.new_class(name, bases, {}, lambda namespace: namespace.update(body))
    _dual_types[id(cause_type)] = dual_type
    return dual_type


def _new_instance(dual_type: type[_DualTaskError], cause: BaseException) -> _DualTaskError:
    """Create the object by the ``__new__`` of the built-in base; user code in ``__new__``, ``__init__`` is not run."""
    for owner in dual_type.__mro__:
        new = vars(owner).get("__new__")
        if owner is not MemoryError and isinstance(
            new, types.BuiltinFunctionType
        ):  # it has one for its own objects only
            # Of the built-in types only groups check their arguments: message and members.
            arguments = (cause.message, cause.exceptions) if _is_group(owner) else (cause,)  # type: ignore[attr-defined]
            instance: _DualTaskError = new(dual_type, *arguments)
            return instance
    raise TypeError(f"{dual_type.__name__} has no built-in base")


def _is_group(error_type: type) -> bool:
    """Return whether a type is an exception group, of Python or of the package exceptiongroup."""
    return any(owner.__name__ == "BaseExceptionGroup" for owner in error_type.__mro__)


def dump_cause(cause: BaseException, traceback_str: str) -> bytes:
    """Return the pickled cause, or of a RayError that tells its text where pickle refuses it. Never fails."""
    import cloudpickle  # here, so that importing the errors stays cheap

    try:
        payload: bytes = cloudpickle.dumps(cause)
        return payload
    except KeyboardInterrupt:
        raise  # a cancelled task or Ctrl-C, not the exception's doing
    except BaseException as problem:
        return pickle.dumps(unpicklable_cause(cause, traceback_str, problem))


def unpicklable_cause(cause: BaseException, traceback_str: str, problem: BaseException) -> RayError:
    """Return what stands in for a cause that pickle refuses."""
    name = f"{type(cause).__module__}.{type(cause).__qualname__}"
    return RayError(f"Exception {name} isn't serializable: {safe_text(problem)}.\n"
                    f"Original exception details:\n{traceback_str}")  # fmt: skip


def safe_text(value: object) -> str:
    """Return ``str(value)``, or a placeholder when user code in it fails."""
    try:
        return str(value)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return f"<unprintable {type(value).__name__} object>"


def _restore_task_error(error_type: type[RayTaskError], state: dict[str, Any], payload: bytes) -> RayTaskError:
    """Rebuild a RayTaskError; a cause that fails to unpickle here becomes an UnserializableException."""
    error = error_type.__new__(error_type)
    error.__dict__.update(state)
    try:
        cause = pickle.loads(payload)
        if not isinstance(cause, BaseException):
            raise TypeError(f"the exception came back as {type(cause).__name__}")
    except KeyboardInterrupt:
        raise
    except BaseException:
        cause = UnserializableException(error.traceback_str)
    error.cause = cause
    error.args = (error.function_name, error.traceback_str, cause, error.proctitle, error.pid, error.ip)
    return error


def _restore_dual(plain: RayTaskError) -> RayTaskError:
    """Rebuild an error that was both a RayTaskError and of the user's type."""
    return plain.as_instanceof_cause()


for _public in (RayError, UnserializableException, RayTaskError):
    _public.__module__ = _PUBLIC_MODULE
