"""What the command line says of errors: one line, with the remedy."""

from importlib.util import find_spec

from pydantic import ValidationError

from app.client import ApiError, ClientError
from app.core.errors import TransRecError

EXPECTED = (TransRecError, ClientError, ValidationError, ModuleNotFoundError)


def said(error: Exception) -> str:
    """The line for an expected error; raises one of our own mistakes again."""
    match error:
        case ApiError():
            return _of_server(error)
        case TransRecError():
            return error.message
        case ValidationError():
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            message = first["msg"].removeprefix("Value error, ")
            if first["type"] == "extra_forbidden":
                message = "there is no such name. `transrec train --help` lists them."
            return f"{where}: {message}" if where else message
        case ModuleNotFoundError() if find_spec("sqlalchemy") is None:
            return "This command is the server's. Install it: pip install 'transrec-serve[serve]'."
        case ModuleNotFoundError():
            raise error
    return str(error)


def _of_server(error: ApiError) -> str:
    if error.extra.get("field") == "tenant":  # the API's remedy is a parameter of its routes
        return f"{error.detail.partition(':')[0]}: --tenant NAME, or TRANSREC_TENANT."
    if error.status >= 500 and error.request_id:
        return f"{error.detail} (request {error.request_id})"
    return error.detail
