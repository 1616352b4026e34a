"""Settings → what is kept where. Not among `app`'s, for a terminal asks without WebRTC loaded."""

from __future__ import annotations

from relay.settings import Settings
from relay.stores.archive import ArchiveOptions
from relay.stores.retention import RetentionOptions
from relay.stores.store import StoreOptions
from relay.stores.uploader import UploaderOptions


def store_options(settings: Settings) -> StoreOptions:
    """What is kept where, and for how long. With a relative directory, asks where we are."""
    recording = settings.recording
    url, days = recording.upload_url, recording.retention_days
    return StoreOptions(
        directory=recording.directory.absolute(),
        url="" if settings.store.url is None else settings.store.url.get_secret_value(),
        upload=None if url is None else ArchiveOptions(url),
        uploader=UploaderOptions(
            delete_after=recording.delete_after_upload, wait_for_mix=recording.mix
        ),
        retention=RetentionOptions(days) if days else None,
    )
