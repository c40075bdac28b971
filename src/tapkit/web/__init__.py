"""The studio in a browser: a server over `tapkit.annotate`, and its page (`page/`). Needs the extra `web`.

`app.make_app` is the FastAPI application, `serve.serve` runs it, `worker` is the process that tracks beside it.
"""
