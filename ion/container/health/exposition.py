"""What Prometheus is told of a container, at ``/metrics``: its health and its numbers, as they are.

Made anew for each who asks; nothing is counted for it. The numbers are those of the agent's op
``stats``.
"""

from __future__ import annotations

from ion.container.agent.describing import Described, stats_of
from ion.container.agent.reports import Health, Stats
from ion.observe.metrics import Metrics

_ATTEMPTS = 5

# metric, what it tells, attribute of the stats; those that grow end in _total
_NUMBERS = (
    ("ion_uptime_seconds", "Since the container was made.", "uptime"),
    ("ion_cpu_seconds_total", "Of the processor, used by the OS process.", "cpu"),
    ("ion_memory_bytes", "In use by the OS process.", "rss"),
    ("ion_threads", "Of the OS process.", "threads"),
    ("ion_loop_lag_seconds", "By how much the event loop is, or was lately, late.", "lag"),
    ("ion_messages_in_total", "Messages that its processes have handled.", "messages_in"),
    ("ion_messages_out_total", "Messages that it has sent.", "messages_out"),
    ("ion_calls_open", "Calls that its processes wait for.", "calls_open"),
    ("ion_calls_at_hand", "Calls of others that are handled, or wait.", "calls_at_hand"),
)
_OF_SERVICES = (
    ("ion_service_instances", "Instances of a service.", "instances"),
    ("ion_service_handled_total", "Messages that a service has handled.", "handled"),
    ("ion_service_failed_total", "Messages whose handling failed.", "failed"),
    ("ion_service_in_flight", "Messages that a service handles, or that wait for it.", "in_flight"),
)


def exposition(container: Described, health: Health) -> str:
    """Return the metrics of a container as text for Prometheus; from any thread.

    :raises RuntimeError: its processes came and went too fast to be counted.
    """
    metrics = Metrics({"container": container.id, "sysname": container.sysname})
    lag = next((check.value or 0.0 for check in health.checks if check.name == "loop"), 0.0)
    _add_health(metrics, health)
    _add_stats(metrics, _stats(container, lag))
    return metrics.render()


def _stats(container: Described, lag: float) -> Stats:
    """Return the numbers, though the event loop goes on meanwhile, and tables change."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return stats_of(container, lag)
        except RuntimeError:
            continue
    return stats_of(container, lag)


def _add_health(metrics: Metrics, health: Health) -> None:
    metrics.add("ion_live", "1: the event loop turns, and the agent is there.", health.live)
    metrics.add("ion_ready", "1: work may be given to it.", health.ready)
    metrics.add("ion_slow_ops", "Ops that have run for too long.", len(health.stuck))
    for check in health.checks:
        metrics.add("ion_check_ok", "1: a check of its health is ok.", check.ok, check=check.name)
        if check.value is not None:
            tells = "What a check has measured."
            metrics.add("ion_check_value", tells, check.value, check=check.name)


def _add_stats(metrics: Metrics, stats: Stats) -> None:
    for name, tells, attribute in _NUMBERS:
        metrics.add(name, tells, getattr(stats, attribute))
    for name, tells, attribute in _OF_SERVICES:
        for service in stats.services:
            value, version = getattr(service, attribute), service.version
            metrics.add(name, tells, value, service=service.name, version=version)
    for event, count in stats.counts.items():
        metrics.add("ion_events_total", "Of what is rare, by its name.", count, event=event)
