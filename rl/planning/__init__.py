"""What a run will need, before anything is loaded: memory per GPU, steps, tokens, hours."""
