"""The controller framework: informers, workqueue, controllers, manager. Knows nothing of KAITO."""
