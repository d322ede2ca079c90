"""Models of the toybox's world, made from nothing in the time that a laptop has: a CLIP, a
diffusion model, a reader of attributes. Each loads with its library's own loader; nothing else
depends on how they were made."""
