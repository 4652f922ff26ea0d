"""The tables. A channel's rows go when the channel goes; big binary columns load only when asked for."""

from app.store.tables.base import Base as Base
from app.store.tables.base import UtcDateTime as UtcDateTime
from app.store.tables.catalogue import Channel as Channel
from app.store.tables.catalogue import DeletedItem as DeletedItem
from app.store.tables.catalogue import Import as Import
from app.store.tables.catalogue import Interaction as Interaction
from app.store.tables.catalogue import Item as Item
from app.store.tables.catalogue import ItemImage as ItemImage
from app.store.tables.releases import Adapter as Adapter
from app.store.tables.releases import Alias as Alias
from app.store.tables.releases import AliasHistory as AliasHistory
from app.store.tables.releases import ItemVectors as ItemVectors
from app.store.tables.releases import Release as Release
from app.store.tables.tenants import ApiKey as ApiKey
from app.store.tables.tenants import AuditEntry as AuditEntry
from app.store.tables.tenants import Tenant as Tenant
from app.store.tables.traffic import Click as Click
from app.store.tables.traffic import Duty as Duty
from app.store.tables.traffic import Guard as Guard
from app.store.tables.traffic import Impressions as Impressions
from app.store.tables.traffic import Rollout as Rollout
from app.store.tables.traffic import ShadowResult as ShadowResult
from app.store.tables.training import JobCheckpoint as JobCheckpoint
from app.store.tables.training import TrainingJob as TrainingJob
from app.store.tables.training import TrainingPolicy as TrainingPolicy
from app.store.tables.training import Worker as Worker
