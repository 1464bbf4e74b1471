"""LoRA's linear layers as one differentiable step each, with the gradient of peft's own.

peft computes base(x) + B(A(x)) * scale as five operations with a result each; here the two small
products are added into the large one's result, forward and backward. Nothing is approximated.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def fused_lora(model: Any) -> Iterator[int]:
    """Within the block, plain LoRA layers of `model` compute in one step.

    Layers of another kind (DoRA, dropout, several adapters, quantised bases) stay as they are.

    Args:
        model: a model that peft may have wrapped.

    Yields:
        How many layers were fused.
    """
    changed = [module for module in model.modules() if _is_plain(module)]
    step = _step() if changed else None
    for module in changed:
        module.forward = _forward(module, step)
    try:
        yield len(changed)
    finally:
        for module in changed:
            del module.forward


def _is_plain(module: Any) -> bool:
    """Whether a module is peft's LoRA over a plain linear layer, with one adapter and no more."""
    import torch

    if not hasattr(module, "lora_A") or type(getattr(module, "base_layer", None)) is not (
        torch.nn.Linear
    ):
        return False
    names = list(module.active_adapters)
    if len(names) != 1 or names[0] not in module.lora_A or module.disable_adapters or module.merged:
        return False
    name = names[0]
    dropout = getattr(module.lora_dropout[name], "p", 0.0)
    kinds = {module.base_layer.weight.dtype, module.lora_A[name].weight.dtype}
    plain = name not in module.lora_variant and not module.lora_bias.get(name, False)
    return plain and not dropout and len(kinds) == 1


def _forward(module: Any, step: Any) -> Any:
    name = module.active_adapters[0]
    base, a, b = module.base_layer, module.lora_A[name], module.lora_B[name]
    scale = module.scaling[name]

    def forward(x: Any) -> Any:
        return step.apply(x, base.weight, base.bias, a.weight, b.weight, scale)

    return forward


def _step() -> Any:
    """The autograd function; torch is imported when it is needed."""
    import torch

    class LoraLinear(torch.autograd.Function):  # type: ignore[misc]
        """y = x W' + bias + scale (x A') B', for a frozen W and bias."""

        @staticmethod
        def forward(
            ctx: Any,
            x: torch.Tensor,
            weight: torch.Tensor,
            bias: torch.Tensor | None,
            a: torch.Tensor,
            b: torch.Tensor,
            scale: float,
        ) -> torch.Tensor:
            rows = x.reshape(-1, x.shape[-1])
            inner = torch.mm(rows, a.t())
            if bias is None:
                found = torch.mm(rows, weight.t())
            else:
                found = torch.addmm(bias, rows, weight.t())
            found.addmm_(inner, b.t(), alpha=scale)
            ctx.save_for_backward(rows, weight, a, b, inner)
            ctx.scale = scale
            return found.view(*x.shape[:-1], -1)

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> Any:
            rows, weight, a, b, inner = ctx.saved_tensors
            grads = grad.reshape(-1, grad.shape[-1])
            inner_grad = torch.mm(grads, b).mul_(ctx.scale)
            of_x = None
            if ctx.needs_input_grad[0]:
                of_x = torch.mm(grads, weight).addmm_(inner_grad, a)
                of_x = of_x.view(*grad.shape[:-1], -1)
            of_a = torch.mm(inner_grad.t(), rows) if ctx.needs_input_grad[3] else None
            of_b = None
            if ctx.needs_input_grad[4]:
                of_b = torch.mm(grads.t(), inner).mul_(ctx.scale)
            return of_x, None, None, of_a, of_b, None

    return LoraLinear
