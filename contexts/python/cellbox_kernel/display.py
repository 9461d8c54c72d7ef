"""display(), results and the fast path for plain scalars."""

from __future__ import annotations

import builtins
import threading
from typing import Any

import _cellbox
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.formatters import DisplayFormatter
from IPython.lib import pretty

from . import protocol
from .encode import bundle, dump

SCALARS = frozenset({int, float, bool, str, bytes, complex, type(None)})


def _sections(content: dict[str, Any]) -> tuple[bytes, bytes, bytes]:
    return bundle(content["data"]), dump(content["metadata"] or {}), dump(content.get("transient") or {})


class _Hooks(threading.local):
    """Functions message -> message or None that see a message of this thread before it is sent."""

    def __init__(self) -> None:
        self.hooks: list[Any] = []

    def run(self, msg_type: str, content: dict[str, Any]) -> dict[str, Any] | None:
        message: Any = {"msg_type": msg_type, "header": {"msg_type": msg_type}, "content": content, "metadata": {}}
        for hook in self.hooks:
            message = hook(message)
            if message is None:
                return None
        return message["content"]


class Publisher(DisplayPublisher):
    """DISPLAY, UPDATE_DISPLAY and CLEAR_OUTPUT frames."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._own_hooks = _Hooks()

    @property
    def _hooks(self) -> list[Any]:
        return self._own_hooks.hooks

    def register_hook(self, hook: Any) -> None:
        self._own_hooks.hooks.append(hook)

    def unregister_hook(self, hook: Any) -> bool:
        try:
            self._own_hooks.hooks.remove(hook)
        except ValueError:
            return False
        return True

    def publish(  # type: ignore[override]
        self,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        source: Any = None,
        *,
        transient: dict[str, Any] | None = None,
        update: bool = False,
        **kwargs: Any,
    ) -> None:
        """Send a MIME bundle; ``transient["display_id"]`` names it for later updates."""
        metadata = metadata or {}
        self._validate_data(data, metadata)
        name = "update_display_data" if update else "display_data"
        content: dict[str, Any] = {"data": data, "metadata": metadata, "transient": transient or {}}
        if self._own_hooks.hooks:
            kept = self._own_hooks.run(name, content)
            if kept is None:
                return
            content = kept
        if _cellbox.is_detached():
            print(data.get("text/plain", ""))
            return
        kind = protocol.UPDATE_DISPLAY if update else protocol.DISPLAY
        protocol.send(kind, 0, _cellbox.current_request(), _sections(content))

    def clear_output(self, wait: bool = False) -> None:
        """Clear what the cell has shown, at once or with its next output."""
        if self._own_hooks.hooks and self._own_hooks.run("clear_output", {"wait": wait}) is None:
            return
        protocol.send(protocol.CLEAR_OUTPUT, 1 if wait else 0, _cellbox.current_request(), ())


class ResultHook(DisplayHook):
    """sys.displayhook of a cell: its value becomes the RESULT frame."""

    _: Any
    __: Any
    ___: Any
    exec_result: Any = None  # a plain attribute: it changes twice with every cell

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._start()

    def _start(self) -> None:
        self._own_hooks = _Hooks()
        self._pending: dict[str, Any] | None = None

    @property
    def _hooks(self) -> list[Any]:
        return self._own_hooks.hooks

    register_hook = Publisher.register_hook
    unregister_hook = Publisher.unregister_hook

    def quiet(self) -> bool:
        try:
            cell = self.shell.history_manager.input_hist_parsed[-1]
        except IndexError:
            return False
        return ";" in cell and bool(self.semicolon_at_end_of_expression(cell))

    def start_displayhook(self) -> None:
        self._is_active = True
        self._pending = None

    def write_output_prompt(self) -> None:
        pass

    def write_format_data(self, format_dict: dict[str, Any], md_dict: dict[str, Any] | None = None) -> None:
        self._pending = {"data": format_dict, "metadata": md_dict or {}}

    def log_output(self, format_dict: dict[str, Any]) -> None:
        text = format_dict.get("text/plain")
        if isinstance(text, str):
            self.shell.history_manager.remember_output(self.prompt_count, text)
            if self.shell.logger.log_output:
                self.shell.logger.log_write(text, "output")

    def finish_displayhook(self) -> None:
        content, self._pending = self._pending, None
        self._is_active = False
        if content is not None and self._own_hooks.hooks:
            content = self._own_hooks.run("execute_result", content)
        if content is None:
            return
        if _cellbox.is_detached():
            print(content["data"].get("text/plain", ""))
            return
        sections = bundle(content["data"]), dump(content["metadata"] or {})
        protocol.send(protocol.RESULT, 0, _cellbox.current_request(), sections)

    def update_user_ns(self, result: Any) -> None:
        """``_``, ``__``, ``___``, ``_n`` and ``Out[n]``; a name that the user took is left alone."""
        ns, hidden = self.shell.user_ns, self.shell.user_ns_hidden
        outputs = ns.get("_oh")
        if not self.cache_size or result is outputs or outputs is None:
            return
        if self.do_full_cache and len(outputs) >= self.cache_size:
            self.cull_cache()
        ours = all(
            ns[name] is hidden.get(name, last)
            for name, last in (("_", self._), ("__", self.__), ("___", self.___))
            if name in ns
        )
        self.___, self.__, self._ = self.__, self._, result
        changed = {}
        if ours and "_" not in builtins.__dict__:
            changed = {"_": result, "__": self.__, "___": self.___}
        if self.do_full_cache:
            changed[f"_{self.prompt_count}"] = result
            outputs[self.prompt_count] = result
        ns.update(changed)
        hidden.update(changed)

    def cull_cache(self) -> None:
        """Forget the oldest results, without the warning that IPython prints into the cell."""
        outputs = self.shell.user_ns.get("_oh", {})
        count = max(int(len(outputs) * self.cull_fraction), 2)
        for n in sorted(outputs)[:count]:
            self.shell.user_ns.pop(f"_{n}", None)
            outputs.pop(n, None)


class Formatter(DisplayFormatter):
    """IPython's formatter with a short way for exact builtin scalars.

    Eleven formatters are asked for each value, 100 us of work to learn that an int has only a repr. The short way
    is taken only while nobody registered a printer that could apply to the type.
    """

    _seen: tuple[Any, ...] = ()  # (formatters, [(formatter, its printer dicts)])

    def _printers(self) -> list[tuple[Any, Any, Any, Any]]:
        """Every formatter with its dictionaries; looked up through traitlets only when something was replaced."""
        formatters = (*self.formatters.values(), self.ipython_display_formatter, self.mimebundle_formatter)
        if self._seen and self._seen[0] == formatters:
            rows = self._seen[1]
            for formatter, types, _, _ in rows:
                if formatter._trait_values.get("type_printers") is not types:
                    break
            else:
                return rows
        rows = [(f, f.type_printers, f.singleton_printers, f.deferred_printers) for f in formatters]
        self._seen = (formatters, rows)
        return rows

    def _is_plain(self, kind: type) -> bool:
        if kind not in SCALARS:
            return False
        plain = self.formatters.get("text/plain")
        for formatter, types, singletons, deferred in self._printers():
            if formatter is plain:
                default = pretty._type_pprinters
                if (
                    types.get(kind) is not default.get(kind)
                    or types.get(object) is not default.get(object)
                    or singletons != pretty._singleton_pprinters
                    or not formatter.enabled
                ):
                    return False
            elif kind in types or object in types or singletons:
                return False
            if deferred and any(module == "builtins" for module, _ in deferred):
                return False
        return True

    def format(self, obj: Any, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        if include is None and exclude is None and self._is_plain(type(obj)):
            try:
                return {"text/plain": repr(obj)}, {}
            except ValueError:  # an int of more than 4300 digits: IPython shows the traceback
                pass
        return super().format(obj, include=include, exclude=exclude)
