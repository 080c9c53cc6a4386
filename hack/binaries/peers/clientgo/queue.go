package main

import (
	"time"

	"k8s.io/client-go/util/workqueue"
	testingclock "k8s.io/utils/clock/testing"
)

// barrier is an item of ours that never reaches the queue: seen there, everything given earlier has been handled.
const barrier = "\x00barrier"

// A queueStep is one operation. Numbers choose among the items that are held; time is in milliseconds.
type queueStep struct {
	Do   string `json:"do"`
	Item string `json:"item"`
	MS   int64  `json:"ms"`
	Pick int    `json:"pick"`
}

// A queueResult is what a step showed: the item, if one was handed out or given back, and the queue afterwards.
type queueResult struct {
	Item     string `json:"item"`
	Length   int    `json:"length"`
	Failures int    `json:"failures"`
}

// runQueues plays sequences of operations on queues whose clock stands still between the steps.
func runQueues([]string) error {
	var sequences [][]queueStep
	if err := read(&sequences); err != nil {
		return err
	}
	results := make([][]queueResult, len(sequences))
	for number, steps := range sequences {
		results[number] = playQueue(steps)
	}
	return say(results)
}

// gated is the queue under the delaying one; it keeps barriers for itself.
type gated struct {
	workqueue.TypedInterface[string]
	passed chan struct{}
}

func (g *gated) Add(item string) {
	if item == barrier {
		g.passed <- struct{}{}
		return
	}
	g.TypedInterface.Add(item)
}

func playQueue(steps []queueStep) []queueResult {
	clock := testingclock.NewFakeClock(time.Unix(1_700_000_000, 0))
	inner := &gated{
		TypedInterface: workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[string]{Clock: clock}),
		passed:         make(chan struct{}, 1),
	}
	delaying := workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[string]{
		Clock: clock, Queue: inner,
	})
	queue := workqueue.NewTypedRateLimitingQueueWithConfig(
		workqueue.NewTypedItemExponentialFailureRateLimiter[string](5*time.Millisecond, 1000*time.Second),
		workqueue.TypedRateLimitingQueueConfig[string]{Clock: clock, DelayingQueue: delaying},
	)
	defer queue.ShutDown()
	settle := func() {
		queue.AddAfter(barrier, time.Nanosecond)
		for {
			clock.Step(2 * time.Nanosecond)
			select {
			case <-inner.passed:
				return
			case <-time.After(2 * time.Millisecond):
				// A timer that was made during the step counts from after it: another step is needed.
			}
		}
	}
	var held []string
	results := make([]queueResult, 0, len(steps))
	for _, step := range steps {
		item := step.Item
		switch step.Do {
		case "add":
			queue.Add(item)
		case "add_after":
			queue.AddAfter(item, time.Duration(step.MS)*time.Millisecond)
			settle()
		case "add_rate_limited":
			queue.AddRateLimited(item)
			settle()
		case "forget":
			queue.Forget(item)
		case "advance":
			clock.Step(time.Duration(step.MS) * time.Millisecond)
			// The first barrier may overtake what has just become due; the second one cannot.
			settle()
			settle()
		case "get":
			item = ""
			if queue.Len() > 0 {
				item, _ = queue.Get()
				held = append(held, item)
			}
		case "done":
			item = ""
			if len(held) > 0 {
				at := step.Pick % len(held)
				item = held[at]
				held = append(held[:at], held[at+1:]...)
				queue.Done(item)
			}
		}
		results = append(results, queueResult{Item: item, Length: queue.Len(), Failures: queue.NumRequeues(item)})
	}
	return results
}
