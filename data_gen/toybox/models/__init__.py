"""The tiny models of the toybox, trained from random weights on a laptop's CPU: a policy, a CLIP, a
diffusion model, an attribute classifier. The first three load with their libraries' own loaders."""
