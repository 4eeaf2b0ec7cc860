"""Runs Debian's openstackclient for many commands in one process: a start of it takes seconds.

Reads a JSON list of arguments a line, answers a JSON object a line: code, out, err.
"""
import contextlib
import io
import json
import sys

from openstackclient import shell

for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = shell.main(json.loads(line)) or 0
        except SystemExit as e:
            code = e.code or 0
        except Exception as e:
            code, _ = 1, err.write(str(e))
    if not isinstance(code, int):  # "federation protocol set" of 6.0 returns what it would show
        code = 0
    sys.__stdout__.write(json.dumps({"code": code, "out": out.getvalue(), "err": err.getvalue()}) + "\n")
    sys.__stdout__.flush()
