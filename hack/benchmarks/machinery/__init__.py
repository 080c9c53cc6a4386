"""Our informers and queues beside client-go's, kopf's and the official client's: same bytes, same run."""
