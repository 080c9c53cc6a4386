package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// follow keeps a store of pods with two indexes, a handler that enqueues keys and one worker, and answers the bench's
// questions on standard input: `expect N` is answered once N notifications have come in all.
func follow(arguments []string) error {
	flags := flag.NewFlagSet("follow", flag.ContinueOnError)
	server := flags.String("server", "", "URL of the replay server")
	pods := flags.Int64("pods", 0, "how many pods there are")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	client, err := rest.RESTClientFor(config(*server))
	if err != nil {
		return err
	}
	source := cache.NewListWatchFromClient(client, "pods", "", fields.Everything())
	informer := cache.NewSharedIndexInformerWithOptions(
		cache.ToListWatcherWithWatchListSemantics(source, client),
		&corev1.Pod{},
		cache.SharedIndexInformerOptions{Indexers: cache.Indexers{
			cache.NamespaceIndex: cache.MetaNamespaceIndexFunc,
			"node": func(obj interface{}) ([]string, error) {
				return []string{obj.(*corev1.Pod).Spec.NodeName}, nil
			},
		}},
	)
	if err := informer.SetTransform(strip); err != nil {
		return err
	}
	queue := workqueue.NewTyped[string]()
	var told, worked atomic.Int64
	enqueue := func(obj interface{}) {
		if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj); err == nil {
			queue.Add(key)
		}
		told.Add(1)
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    enqueue,
		DeleteFunc: enqueue,
		UpdateFunc: func(old, obj interface{}) {
			if old.(*corev1.Pod).ResourceVersion != obj.(*corev1.Pod).ResourceVersion {
				enqueue(obj)
			}
		},
	}); err != nil {
		return err
	}
	go func() {
		for {
			key, ended := queue.Get()
			if ended {
				return
			}
			worked.Add(1)
			queue.Done(key)
		}
	}()
	started, used := time.Now(), processorSeconds()
	go informer.RunWithContext(context.Background())
	await(&told, *pods)
	if err := say(map[string]any{
		"synced_s": time.Since(started).Seconds(),
		"cpu_s":    processorSeconds() - used,
		"objects":  len(informer.GetStore().ListKeys()),
	}); err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		if word == "quit" {
			break
		}
		if word != "expect" {
			return fmt.Errorf("follow: found %q on standard input, which is neither `expect N` nor `quit`", lines.Text())
		}
		var count int64
		if _, err := fmt.Sscan(rest, &count); err != nil {
			return err
		}
		await(&told, count)
		if err := say(map[string]any{"told": told.Load(), "worked": worked.Load(), "objects": len(informer.GetStore().ListKeys())}); err != nil {
			return err
		}
	}
	return lines.Err()
}

// processorSeconds is what the process has used of all cores.
func processorSeconds() float64 {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

// await looks every half millisecond, which costs less than a signal at every event would.
func await(counter *atomic.Int64, count int64) {
	for counter.Load() < count {
		time.Sleep(500 * time.Microsecond)
	}
}

// strip leaves out what an operator does not read, as ours does.
func strip(obj interface{}) (interface{}, error) {
	if pod, ok := obj.(*corev1.Pod); ok {
		pod.ManagedFields = nil
		delete(pod.Annotations, corev1.LastAppliedConfigAnnotation)
	}
	return obj, nil
}
