"""What a user declares: one YAML document a project, checked as a whole, stored as canonical JSON.

Heavy to import (pydantic), so the request path never does: gateways get compiled tables instead.
"""
