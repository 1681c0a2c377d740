"""`refnn doctor`."""

from __future__ import annotations

import shutil
import threading
from importlib import metadata
from typing import Any

from refnn.cli.app import CONFORMS, FAILED, AsJson, app, example, print_json

# --- doctor ----------------------------------------------------------------------------------------------------------

PACKAGES = {  # what refnn uses, by the extra that brings it; "" for what it cannot do without
    "": ("numpy", "python-flint", "ml_dtypes", "safetensors", "fastjsonschema"),
    "report": ("typer", "rich", "jinja2", "matplotlib"),
    "torch": ("torch",),
    "jax": ("jax", "jaxlib"),
    "onnxruntime": ("onnxruntime", "onnx"),
    "autograd": ("autograd",),
    "sympy": ("sympy", "mpmath"),
    "test": ("pytest", "hypothesis"),
}


@app.command(epilog=example("refnn doctor", "refnn doctor --json"))
def doctor(as_json: AsJson = False) -> int:
    """Say what is installed, and what works here.

    Each model and each adapter checks a small case of softmax. The exit status is 1 if refnn itself cannot check here.
    """
    found = examine()
    if as_json:
        print_json("doctor", found)
    else:
        print("\n".join(_lines(found)))
    return CONFORMS if found["works"] else FAILED


def examine() -> dict[str, Any]:
    """What there is, and what each model and adapter said of a small case: "works", or why not."""
    from refnn.implementations import adapter_for, known
    from refnn.models import MODELS, default_model, multiplies_bfloat16
    from refnn.report.header import environment

    packages = {
        name: {"version": _version(name), "extra": extra} for extra, names in PACKAGES.items() for name in names
    }
    models = {name: _tried(model=name) for name in MODELS}
    adapters = {"refnn": models["float32"]}
    for name in known():
        try:
            adapter = adapter_for(name)
        except LookupError as e:
            adapters[name] = str(e.args[0])
        else:
            adapters[name] = _tried(implementation=adapter.ops.get("softmax"), framework=name)
    about = environment()  # after the frameworks are loaded, which it then names
    return {
        "works": models["float32"] == "works",
        "refnn": about["refnn"],
        "python": about["python"],
        "platform": about["platform"],
        "packages": packages,
        "adapters": adapters,
        "models": models,
        "torch_models": {d: default_model(d, "torch") for d in ("float16", "bfloat16", "float32", "float64")},
        "flush_to_zero": {"this thread": _flushes(), "a new thread": _flushes_elsewhere()},
        "blas": _blas(),
        "cpu": about["cpu"],
        "cpu_features": about["cpu_features"],
        "dot_products_of_bfloat16": multiplies_bfloat16(),
        "threads": about["threads"],
        "c_compiler": shutil.which("cc"),
    }


def _tried(*, implementation: Any = None, framework: str | None = None, model: str | None = None) -> str:
    """Whether a check of a small softmax conforms, under a model or through an adapter."""
    import numpy as np

    import refnn
    from refnn.models import MODELS

    dtype = MODELS[model].storage.dtype if model else np.dtype(np.float32)
    x = np.array([[0.5, -1.25, 3.0], [2.0, 2.0, -7.0]]).astype(dtype)
    case = {"inputs": (x,), "cotangent": np.array([[1.0, 0.0, -0.5], [0.25, 1.0, 1.0]]).astype(dtype)}
    given: dict[str, Any] = {"implementation": implementation, "framework": framework}
    if framework is None:
        given = {"forward": refnn.softmax, "vjp": refnn.softmax.vjp}
    try:
        report = refnn.check("softmax", inputs=case, model=model, **given)
    except Exception as e:
        return f"{type(e).__name__}: {e}"
    return "works" if report.ok else f"a small softmax is judged {report.verdict}"


def _flushes() -> bool:
    """Whether this thread flushes subnormal numbers to zero, without which no bound holds."""
    from refnn.arithmetic.balls import check_gradual_underflow

    try:
        check_gradual_underflow()
    except RuntimeError:
        return True
    return False


def _flushes_elsewhere() -> bool:
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(_flushes()))
    thread.start()
    thread.join()
    return found[0]


def _blas() -> str:
    """The BLAS that NumPy was built with, and how."""
    import numpy as np

    try:
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    except (KeyError, TypeError):
        return "unknown"
    said = (str(blas.get(k, "")) for k in ("name", "version", "openblas configuration"))
    return ", ".join(s for s in said if s and s != "unknown")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [f"refnn {found['refnn']}, Python {found['python']}, {found['platform']}", "", "installed:"]
    for name, package in found["packages"].items():
        extra = f"refnn[{package['extra']}]" if package["extra"] else "refnn"
        lines.append(f"  {name:16} {package['version'] or f'is missing: pip install {extra!r}'}")
    for title, kind in (("adapters", "adapters"), ("models", "models")):
        lines += ["", f"{title}:", *(f"  {name:16} {said}" for name, said in found[kind].items())]
    lines += ["", "models of PyTorch here:", *(f"  {d:16} {m}" for d, m in found["torch_models"].items())]
    lines += ["", "flush to zero:"]
    for thread, flushes in found["flush_to_zero"].items():
        lines.append(f"  {thread:16} {'on: no bound holds in it, see refnn.check' if flushes else 'off'}")
    lines += ["", f"BLAS: {found['blas']}", f"processor: {found['cpu']}"]
    lines.append(f"  dot products of bfloat16: {'yes' if found['dot_products_of_bfloat16'] else 'no'}")
    lines.append(f"  threads: {', '.join(f'{k} {v}' for k, v in found['threads'].items())}")
    lines.append(f"  features: {' '.join(found['cpu_features']) or 'unknown'}")
    return [*lines, f"C compiler: {found['c_compiler'] or 'none called cc'}"]
