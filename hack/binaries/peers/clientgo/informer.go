package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sort"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

const (
	// lastKey is the object whose arrival tells a handler that the scenario is over.
	lastKey   = "default/the-end"
	patience  = 20 * time.Second
	teamIndex = "team"
)

type informerScenario struct {
	Name     string          `json:"name"`
	Handlers []handlerOption `json:"handlers"`
	Actions  []action        `json:"actions"`
}

type handlerOption struct {
	Name    string  `json:"name"`
	ResyncS float64 `json:"resync_s"`
	Late    bool    `json:"late"`
	FailsOn string  `json:"fails_on"`
}

// action is done when every handler there is has been told of the object `After` ("key@resourceVersion"); then the
// server's gate of that name is opened.
type action struct {
	After   string `json:"after"`
	Do      string `json:"do"`
	Handler string `json:"handler"`
	Gate    string `json:"gate"`
}

type informerOutcome struct {
	Store   [][]string                 `json:"store"`
	Index   map[string][]string        `json:"index"`
	Version string                     `json:"version"`
	Log     map[string][][]interface{} `json:"log"`
	Problem string                     `json:"problem,omitempty"`
}

// runInformers plays every scenario at once, each against its own folder of the server. With --crash a handler that
// panics ends the process, as it does in every program that does not say otherwise.
func runInformers(arguments []string) error {
	utilruntime.ReallyCrash = len(arguments) > 0 && arguments[0] == "--crash"
	if utilruntime.ReallyCrash {
		arguments = arguments[1:]
	}
	if len(arguments) != 1 {
		return fmt.Errorf("informer needs the server's URL")
	}
	var scenarios []informerScenario
	if err := read(&scenarios); err != nil {
		return err
	}
	outcomes := make(map[string]*informerOutcome, len(scenarios))
	var guard sync.Mutex
	var all sync.WaitGroup
	for _, scenario := range scenarios {
		all.Go(func() {
			play := &informerPlay{scenario: scenario, server: arguments[0]}
			outcome := play.run()
			guard.Lock()
			defer guard.Unlock()
			outcomes[scenario.Name] = outcome
		})
	}
	all.Wait()
	return say(outcomes)
}

type informerPlay struct {
	scenario informerScenario
	server   string
	informer cache.SharedIndexInformer

	guard   sync.Mutex
	log     map[string][][]interface{}
	handles map[string]cache.ResourceEventHandlerRegistration
	reached map[string]int
	ended   map[string]bool
	over    chan struct{}
}

func (p *informerPlay) run() *informerOutcome {
	p.log = map[string][][]interface{}{}
	p.handles = map[string]cache.ResourceEventHandlerRegistration{}
	p.reached = map[string]int{}
	p.ended = map[string]bool{}
	p.over = make(chan struct{})
	client, err := rest.RESTClientFor(config(p.server + "/s/" + p.scenario.Name))
	if err != nil {
		return &informerOutcome{Problem: err.Error()}
	}
	source := cache.NewListWatchFromClient(client, "configmaps", "", fields.Everything())
	p.informer = cache.NewSharedIndexInformerWithOptions(
		cache.ToListWatcherWithWatchListSemantics(source, client),
		&corev1.ConfigMap{},
		cache.SharedIndexInformerOptions{
			ResyncPeriod: p.resync(),
			Indexers: cache.Indexers{teamIndex: func(obj interface{}) ([]string, error) {
				if team := obj.(*corev1.ConfigMap).Labels["team"]; team != "" {
					return []string{team}, nil
				}
				return nil, nil
			}},
		},
	)
	for _, option := range p.scenario.Handlers {
		p.ended[option.Name] = false
		if !option.Late {
			p.add(option)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go p.informer.RunWithContext(ctx)
	problem := ""
	select {
	case <-p.over:
	case <-time.After(patience):
		problem = "the last object did not reach every handler"
	}
	return p.outcome(problem)
}

// resync is the shortest period that a handler asks for: the informer must look at least that often.
func (p *informerPlay) resync() time.Duration {
	shortest := time.Duration(0)
	for _, option := range p.scenario.Handlers {
		if period := seconds(option.ResyncS); period > 0 && (shortest == 0 || period < shortest) {
			shortest = period
		}
	}
	return shortest
}

func seconds(value float64) time.Duration { return time.Duration(value * float64(time.Second)) }

func (p *informerPlay) add(option handlerOption) {
	name := option.Name
	handle, err := p.informer.AddEventHandlerWithResyncPeriod(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(obj interface{}, initial bool) {
			p.told(name, obj, []interface{}{"added", keyOf(obj), versionOf(obj), uidOf(obj), initial})
			failing(option, obj)
		},
		UpdateFunc: func(old, obj interface{}) {
			p.told(name, obj, []interface{}{
				"updated", keyOf(obj), versionOf(obj), uidOf(obj), versionOf(old), uidOf(old),
			})
			failing(option, obj)
		},
		DeleteFunc: func(obj interface{}) {
			unknown := false
			if tombstone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				unknown, obj = true, tombstone.Obj
			}
			p.told(name, obj, []interface{}{"deleted", keyOf(obj), versionOf(obj), uidOf(obj), unknown})
		},
	}, seconds(option.ResyncS))
	if err != nil {
		panic(err)
	}
	p.guard.Lock()
	defer p.guard.Unlock()
	p.handles[name] = handle
}

func (p *informerPlay) told(handler string, obj interface{}, line []interface{}) {
	if keyOf(obj) == lastKey {
		p.end(handler)
		return
	}
	p.guard.Lock()
	p.log[handler] = append(p.log[handler], line)
	seen := keyOf(obj) + "@" + versionOf(obj)
	p.reached[seen]++
	var due []action
	if p.reached[seen] == len(p.handles) {
		due = p.take(seen)
	}
	p.guard.Unlock()
	for _, step := range due {
		p.act(step)
	}
}

// take is what is to be done after an object was seen, once.
func (p *informerPlay) take(seen string) (due []action) {
	left := p.scenario.Actions[:0:0]
	for _, step := range p.scenario.Actions {
		if step.After == seen {
			due = append(due, step)
		} else {
			left = append(left, step)
		}
	}
	p.scenario.Actions = left
	return due
}

// failing panics at the object on which the handler is to fail, after it has been told.
func failing(option handlerOption, obj interface{}) {
	if keyOf(obj) == option.FailsOn {
		panic("this handler fails on this object")
	}
}

func (p *informerPlay) act(step action) {
	switch step.Do {
	case "add":
		for _, option := range p.scenario.Handlers {
			if option.Name == step.Handler {
				p.add(option)
			}
		}
	case "remove":
		p.guard.Lock()
		handle := p.handles[step.Handler]
		delete(p.handles, step.Handler)
		p.guard.Unlock()
		if err := p.informer.RemoveEventHandler(handle); err != nil {
			panic(err)
		}
		p.end(step.Handler)
	}
	if step.Gate != "" {
		url := p.server + "/gate/" + p.scenario.Name + "/" + step.Gate
		answer, err := http.Post(url, "text/plain", bytes.NewReader(nil))
		if err != nil {
			panic(err)
		}
		answer.Body.Close()
	}
}

func (p *informerPlay) end(handler string) {
	p.guard.Lock()
	defer p.guard.Unlock()
	if p.ended[handler] {
		return
	}
	p.ended[handler] = true
	for _, ended := range p.ended {
		if !ended {
			return
		}
	}
	close(p.over)
}

func (p *informerPlay) outcome(problem string) *informerOutcome {
	p.guard.Lock()
	defer p.guard.Unlock()
	made := &informerOutcome{Log: p.log, Problem: problem, Index: map[string][]string{}, Store: [][]string{}}
	for _, obj := range p.informer.GetIndexer().List() {
		if keyOf(obj) != lastKey {
			made.Store = append(made.Store, []string{keyOf(obj), versionOf(obj), uidOf(obj)})
		}
	}
	sort.Slice(made.Store, func(i, j int) bool { return made.Store[i][0] < made.Store[j][0] })
	for _, team := range p.informer.GetIndexer().ListIndexFuncValues(teamIndex) {
		keys, _ := p.informer.GetIndexer().IndexKeys(teamIndex, team)
		sort.Strings(keys)
		made.Index[team] = keys
	}
	made.Version = p.informer.LastSyncResourceVersion()
	return made
}

func keyOf(obj interface{}) string {
	key, _ := cache.MetaNamespaceKeyFunc(obj)
	return key
}

func versionOf(obj interface{}) string { return obj.(*corev1.ConfigMap).ResourceVersion }

func uidOf(obj interface{}) string { return string(obj.(*corev1.ConfigMap).UID) }
