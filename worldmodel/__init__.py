"""World models from video: learn, plan with guardrails, be surprised."""
