"""Laws of `ldmlib.runtime`: bfloat16 is the hardware's, not an emulation's."""

from __future__ import annotations

import platform
from types import SimpleNamespace

import pytest
import torch

from ldmlib.runtime import has_bfloat16

CPU = torch.device("cpu")
X86 = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")


@pytest.mark.parametrize(
    ("avx512", "amx", "expected"),
    [(True, False, True), (False, True, True), (False, False, False), (None, None, False),
     (True, None, True), (None, True, True)],
)  # fmt: skip
@pytest.mark.parametrize("machine", ["x86_64", "AMD64"])
def test_on_x86_the_processor_is_asked(avx512, amx, expected, machine, monkeypatch) -> None:
    """None: an older PyTorch without that question. What PyTorch emulates does not count."""
    monkeypatch.setattr(platform, "machine", lambda: machine)
    emulates = SimpleNamespace(_is_mkldnn_bf16_supported=lambda: True)
    monkeypatch.setattr(torch.ops, "mkldnn", emulates)
    for name, answer in zip(X86, (avx512, amx), strict=True):
        monkeypatch.delattr(torch.cpu, name, raising=False)
        if answer is not None:
            monkeypatch.setattr(torch.cpu, name, lambda answer=answer: answer, raising=False)
    assert has_bfloat16(CPU) is expected


@pytest.mark.parametrize("answer", [True, False])
def test_on_arm_the_library_asks_the_processor(answer, monkeypatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    asked = SimpleNamespace(_is_mkldnn_bf16_supported=lambda: answer)
    monkeypatch.setattr(torch.ops, "mkldnn", asked)
    assert has_bfloat16(CPU) is answer
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())  # PyTorch without oneDNN
    assert has_bfloat16(CPU) is False


def test_apples_gpu_is_not_asked() -> None:
    assert has_bfloat16(torch.device("mps")) is False
