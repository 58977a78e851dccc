"""Computes the passes of a frozen LLaMA with adapters over packed notes, without padding.

Which library is in charge when: transformers builds the modules and holds the weights; it computes the words' vectors,
the rotary angles and the final norm, and calls the layers in their order. `blocks.install` replaces `forward` of every
decoder layer, and there this folder computes, with backward passes of its own: torch's products and attention, and
between them torch's operators or, on CUDA, Triton's kernels; dropout is drawn by numpy on a CPU, in the kernels
otherwise. bitsandbytes stores weights of 8 and 4 bits, which `quantised` widens. peft names the adapters and writes
their files; the `forward` of its layers is never called. Recomputing activations is torch's checkpoint around a block,
spreading a base over devices its FSDP around a layer. Pretraining has transformers' own layers with
`attention.packed_attention` in them; an exported model has them too, with torch's own attention.
"""
