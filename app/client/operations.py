"""The client's methods: each is a call, sent by whoever has it."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from app.client import calls
from app.client.call import Call

if TYPE_CHECKING:
    from app.client.clients import AsyncClient, Client

P = ParamSpec("P")
T = TypeVar("T")


class Operation(Generic[P, T]):
    """A method made of a function that describes a call.

    `client.item(...)` is its answer, which an `AsyncClient` awaits; `Client.item(...)` is the call itself.
    """

    def __init__(self, describe: Callable[P, Call[T]]) -> None:
        self.describe = describe

    @overload
    def __get__(self, client: "Client", owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, Call[T]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        """The method bound to a client."""
        if client is None:
            return self.describe

        @wraps(self.describe)
        def ask(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client.send(self.describe(*args, **kwargs))

        return ask


class Operations:
    """What a client can ask for."""

    recommend = Operation(calls.recommendations.recommend)
    next_page = Operation(calls.recommendations.next_page)
    recommend_batch = Operation(calls.recommendations.recommend_batch)
    preview = Operation(calls.recommendations.preview)
    similar = Operation(calls.recommendations.similar)

    items = Operation(calls.items.items)
    item = Operation(calls.items.item)
    put_item = Operation(calls.items.put_item)
    patch_item = Operation(calls.items.patch_item)
    delete_item = Operation(calls.items.delete_item)
    put_items = Operation(calls.items.put_items)
    delete_items = Operation(calls.items.delete_items)
    image = Operation(calls.items.image)
    put_image = Operation(calls.items.put_image)
    delete_image = Operation(calls.items.delete_image)

    send_events = Operation(calls.events.send_events)
    users = Operation(calls.events.users)
    user_history = Operation(calls.events.user_history)
    user = Operation(calls.events.user)
    delete_user = Operation(calls.events.delete_user)

    import_items = Operation(calls.imports.import_items)
    import_interactions = Operation(calls.imports.import_interactions)
    import_images = Operation(calls.imports.import_images)
    imports = Operation(calls.imports.imports)
    import_report = Operation(calls.imports.import_report)

    overview = Operation(calls.channels.overview)
    channel_overview = Operation(calls.channels.channel_overview)
    traffic = Operation(calls.channels.traffic)
    statistics = Operation(calls.channels.statistics)
    channels = Operation(calls.channels.channels)
    channel = Operation(calls.channels.channel)
    create_channel = Operation(calls.channels.create_channel)
    describe_channel = Operation(calls.channels.describe_channel)
    delete_channel = Operation(calls.channels.delete_channel)
    training_policy = Operation(calls.channels.training_policy)
    set_training_policy = Operation(calls.channels.set_training_policy)
    delete_training_policy = Operation(calls.channels.delete_training_policy)

    methods = Operation(calls.jobs.methods)
    train = Operation(calls.jobs.train)
    jobs = Operation(calls.jobs.jobs)
    job = Operation(calls.jobs.job)
    cancel_job = Operation(calls.jobs.cancel_job)
    workers = Operation(calls.jobs.workers)

    adapters = Operation(calls.releases.adapters)
    adapter = Operation(calls.releases.adapter)
    upload_adapter = Operation(calls.releases.upload_adapter)
    download_adapter = Operation(calls.releases.download_adapter)
    releases = Operation(calls.releases.releases)
    release_map = Operation(calls.releases.release_map)
    promote = Operation(calls.releases.promote)
    rollback = Operation(calls.releases.rollback)
    release_history = Operation(calls.releases.release_history)
    set_challenger = Operation(calls.releases.set_challenger)
    withdraw_challenger = Operation(calls.releases.withdraw_challenger)
    rollout = Operation(calls.releases.rollout)
    online = Operation(calls.releases.online)

    me = Operation(calls.tenants.me)
    tenants = Operation(calls.tenants.tenants)
    tenant = Operation(calls.tenants.tenant)
    create_tenant = Operation(calls.tenants.create_tenant)
    set_limits = Operation(calls.tenants.set_limits)
    delete_tenant = Operation(calls.tenants.delete_tenant)
    keys = Operation(calls.tenants.keys)
    create_key = Operation(calls.tenants.create_key)
    revoke_key = Operation(calls.tenants.revoke_key)
    rotate_key = Operation(calls.tenants.rotate_key)

    audit = Operation(calls.service.audit)
    serving = Operation(calls.service.serving)
    ready = Operation(calls.service.ready)
