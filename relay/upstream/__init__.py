"""Adapters, one a provider: how a call is opened, hung up and watched."""
