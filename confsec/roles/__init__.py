"""The runnable roles: ASGI applications that any server runs and any Starlette or FastAPI app mounts."""
