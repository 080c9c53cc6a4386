package main

import (
	"fmt"
	"math/rand"
	"strconv"
	"time"

	"k8s.io/client-go/util/workqueue"
)

// queueSpeed prints nanoseconds for each way through a queue. Its argument is the number of operations.
func queueSpeed(arguments []string) error {
	if len(arguments) != 1 {
		return fmt.Errorf("queuespeed needs the number of operations")
	}
	count, err := strconv.Atoi(arguments[0])
	if err != nil {
		return err
	}
	keys := make([]string, 1000)
	for number := range keys {
		keys[number] = fmt.Sprintf("default/pod-%05d", number)
	}
	return say(map[string]float64{
		"add_get_done_ns":     perOperation(count, func() { addGetDone(keys, count) }),
		"add_again_ns":        perOperation(count, func() { addAgain(keys, count) }),
		"add_after_ns":        perOperation(count/10, func() { addAfter(count / 10) }),
		"add_rate_limited_ns": perOperation(count/10, func() { addRateLimited(keys, count/10) }),
	})
}

func perOperation(count int, work func()) float64 {
	started := time.Now()
	work()
	return float64(time.Since(started).Nanoseconds()) / float64(count)
}

func addGetDone(keys []string, count int) {
	queue := workqueue.NewTyped[string]()
	for done := 0; done < count; done += len(keys) {
		for _, key := range keys {
			queue.Add(key)
		}
		for range keys {
			key, _ := queue.Get()
			queue.Done(key)
		}
	}
	queue.ShutDown()
}

func addAgain(keys []string, count int) {
	queue := workqueue.NewTyped[string]()
	for done := 0; done < count; done += len(keys) {
		for _, key := range keys {
			queue.Add(key)
		}
	}
	queue.ShutDown()
}

// addAfter waits for the last of the items, none of which is due later than after 50 ms.
func addAfter(count int) {
	queue := workqueue.NewTypedDelayingQueue[string]()
	random := rand.New(rand.NewSource(1))
	for number := range count {
		queue.AddAfter(strconv.Itoa(number), time.Duration(1+random.Intn(50))*time.Millisecond)
	}
	for range count {
		key, _ := queue.Get()
		queue.Done(key)
	}
	queue.ShutDown()
}

func addRateLimited(keys []string, count int) {
	queue := workqueue.NewTypedRateLimitingQueue(
		workqueue.NewTypedItemExponentialFailureRateLimiter[string](5*time.Millisecond, 5*time.Millisecond),
	)
	for done := 0; done < count; done += len(keys) {
		for _, key := range keys {
			queue.AddRateLimited(key)
		}
		for range keys {
			key, _ := queue.Get()
			queue.Forget(key)
			queue.Done(key)
		}
	}
	queue.ShutDown()
}
