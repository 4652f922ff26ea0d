"""The Python client: `Client`, and `AsyncClient` with the same methods; needs no torch and no database.

    with Client("http://127.0.0.1:8000", key="tr_...") as client:
        for item in client.recommend("books", user_id="u1", count=5).items:
            print(item.item_id, item.score)

It reads in this order:

call        a request, described as data
calls/      what can be asked: pure functions that describe calls, a file a noun
operations  the list of all of them: the client's methods
connection  what both clients know, and how a call becomes a request
clients     the two that send calls, and what takes several of them
retry       what is sent again, and when; upload: bodies that are streamed; errors: what goes wrong
"""

from app.client.clients import AsyncClient, Client
from app.client.errors import ApiError, ClientError, Unreachable
from app.client.frames import rows

__all__ = ["ApiError", "AsyncClient", "Client", "ClientError", "Unreachable", "rows"]
