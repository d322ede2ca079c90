"""What happens at the end of a step beside training: stopping early, preemption, trackers."""
