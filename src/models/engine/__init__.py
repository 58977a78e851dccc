"""The passes of a frozen LLaMA with adapters over packed notes: attention, blocks, projections, dropout, kernels.

Which library is in charge when: transformers builds the modules and holds the weights, peft names the adapters and
writes their files, and `blocks.install` replaces `forward` of every decoder layer, so that between embedding and head
only this folder computes, without padding and with a backward pass of its own. Pretraining and export use
transformers' own blocks, with `attention.packed_attention` registered there.
"""
