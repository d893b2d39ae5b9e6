cd /tmp/w/me && time timeout 100 .venv/bin/python -m pytest -q -x tests/test_command_line.py -n 0 2>&1 | tail -15
