"""The registry's domain: values, rules, state machines and the ports they need."""
