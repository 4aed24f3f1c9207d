"""Publishing: bytes are cut, deduplicated, encoded, signed and put at an origin. Blocking, without trio.

Modules:
    fleet: the publisher's folder: keys, authority, sites.
    sites: sites, and the record of their nodes.
    enrolment: the identity folders of nodes.
    apart: what must never be published: fleets and origins.
    source: files, images and trees as chunks.
    reassemble: read published releases back from an origin, verified.
    lineage: which older releases a new one is encoded against.
    sound: whether what lies at the origin still is what it was.
    moves: which way a channel may move.
    mend: damaged packs are written again in their place.
    encode: full pieces and delta units.
    clock: whether the clock may be believed.
    limit: how much an update may cost a site.
    objects: packs and indexes at the origin.
    inventory: which objects at the origin something names.
    pruning: old releases are removed, and what nothing names.
    pruned: what is remembered of that.
    release: one release from path to signed origin.
"""

from .enrolment import NodeOptions, Subscription, enrol
from .fleet import Fleet, init_fleet
from .options import PublishOptions
from .pruning import PruneOptions, PruneReport, prune
from .release import publish
from .report import DeltaReport, PublishReport, site_cost
from .signing import RefreshReport, refresh
from .sites import NodeRecord, add_site, nodes_of, sites_of

__all__ = [
    "DeltaReport",
    "Fleet",
    "NodeOptions",
    "NodeRecord",
    "PruneOptions",
    "PruneReport",
    "PublishOptions",
    "PublishReport",
    "RefreshReport",
    "Subscription",
    "add_site",
    "enrol",
    "init_fleet",
    "nodes_of",
    "prune",
    "publish",
    "refresh",
    "site_cost",
    "sites_of",
]
