"""The control plane's shell: the admin API, and what turns a spec into the table gateways serve."""
