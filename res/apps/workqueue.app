# Teaches a work queue: three workers share one queue, a collector gets what they find out.
type: application
name: workqueue
version: 0.1.0
description: Workers that share a queue
processes:
  - {id: collector, class: "ion.services.workqueue.service:Collector"}
  - {id: worker_1, class: "ion.services.workqueue.service:Worker"}
  - {id: worker_2, class: "ion.services.workqueue.service:Worker"}
  - {id: worker_3, class: "ion.services.workqueue.service:Worker"}
registered: [workqueue]
