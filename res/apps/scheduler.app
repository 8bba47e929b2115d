# Tasks that fire once, at intervals or by cron, on the datastore that store.url names: SQLite or
# PostgreSQL. One container of a system runs it; when that is gone, another one takes it over.
type: application
name: scheduler
version: 0.1.0
description: The scheduler of the system
start_type: permanent
failover: true
processes:
  - {id: scheduler, class: "ion.services.scheduler.service:SchedulerService"}
registered: [scheduler]
config:
  name: schedules     # of its store; two systems on one datastore give two names
  keep: 86400         # seconds for which a task is kept that is over
