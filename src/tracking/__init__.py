"""What a run tells W&B and its own history while it goes: guard, policy, recorder."""
