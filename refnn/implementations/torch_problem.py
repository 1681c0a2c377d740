"""Problems in KernelBench's form: a file or a module with `Model`, `get_inputs` and perhaps `get_init_inputs`, and a
replacement with `ModelNew`."""

from __future__ import annotations

import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch


def defined(
    problem: Any, dtype: str, seed: int, scales: Sequence[float]
) -> tuple[torch.nn.Module, list[tuple[torch.Tensor, ...]], Any]:
    """The model of a problem, sets of inputs of a dtype, and what the model is made of. The sets are the problem's, and
    one for each of the scales, which is drawn anew. ValueError says what the problem lacks."""
    kind = getattr(torch, dtype)
    has = _loaded(problem, "Model", "get_inputs")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sets = [has["get_inputs"]()]
        if odd := [type(x).__name__ for x in sets[0] if not isinstance(x, torch.Tensor)]:
            raise ValueError(f"grade: get_inputs returns a {odd[0]}, expected tensors")
        for scale in scales:  # of the generator as it stands
            sets.append([x * scale if x.is_floating_point() else x for x in has["get_inputs"]()])
        torch.manual_seed(seed)
        init = has["get_init_inputs"]() if "get_init_inputs" in has else []
    given = [tuple(x.to(kind) if x.is_floating_point() else x for x in drawn) for drawn in sets]
    model: torch.nn.Module = made(has["Model"], init, dtype, seed)
    return model, given, init


def replacement(solution: Any) -> Any:
    """The class of a replacement. ValueError says that there is none."""
    return _loaded(solution, "ModelNew")["ModelNew"]


def made(kind: Any, init: Any, dtype: str, seed: int, like: torch.nn.Module | None = None) -> Any:
    """An object of a class, made of the problem's arguments. Its parameters get the numbers of those of `like` that
    have the same names and shapes."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        found = kind(**init) if isinstance(init, dict) else kind(*init)
    if not isinstance(found, torch.nn.Module):
        return found
    found = found.to(getattr(torch, dtype))
    own = dict(found.named_parameters())
    with torch.no_grad():
        for name, p in [] if like is None else like.named_parameters():
            if name in own and own[name].shape == p.shape:
                own[name].copy_(p)
    return found


def _loaded(given: Any, *needed: str) -> Mapping[str, Any]:
    """What a module has, or the file of one."""
    found: Mapping[str, Any]
    if isinstance(given, (str, Path)):
        try:
            found = runpy.run_path(str(given))
        except Exception as e:
            raise ValueError(f"grade: {given} raised {type(e).__name__}: {e}") from e
    else:
        found = vars(given)
    if missing := [n for n in needed if n not in found]:
        raise ValueError(f"grade: {given} has no {missing[0]}")
    return found
