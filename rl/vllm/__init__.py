"""Sampling with vLLM: the prompts that it is given, its weights, and whether it is the same policy.

TRL's own engine, with what is wrong for pictures mended; see docs/vllm.md.
"""
