package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

type electionScenario struct {
	Name     string  `json:"name"`
	Identity string  `json:"identity"`
	LeaseS   float64 `json:"lease_s"`
	RenewS   float64 `json:"renew_s"`
	RetryS   float64 `json:"retry_s"`
}

// electionOutcome is which callbacks ran, in order, and which leaders were reported.
type electionOutcome struct {
	Calls   []string `json:"calls"`
	Leaders []string `json:"leaders"`
	Problem string   `json:"problem,omitempty"`
}

// runElections lets one contender of each scenario stand until the server says that the scenario is over.
func runElections(arguments []string) error {
	if len(arguments) != 1 {
		return fmt.Errorf("election needs the server's URL")
	}
	var scenarios []electionScenario
	if err := read(&scenarios); err != nil {
		return err
	}
	outcomes := make(map[string]*electionOutcome, len(scenarios))
	var guard sync.Mutex
	var all sync.WaitGroup
	for _, scenario := range scenarios {
		all.Go(func() {
			outcome := contend(arguments[0], scenario)
			guard.Lock()
			defer guard.Unlock()
			outcomes[scenario.Name] = outcome
		})
	}
	all.Wait()
	return say(outcomes)
}

func contend(server string, scenario electionScenario) *electionOutcome {
	settings := config(server + "/s/" + scenario.Name)
	settings.APIPath = ""
	settings.GroupVersion = nil
	client, err := coordinationv1.NewForConfig(settings)
	if err != nil {
		return &electionOutcome{Problem: err.Error()}
	}
	outcome := &electionOutcome{Calls: []string{}, Leaders: []string{}}
	var guard sync.Mutex
	note := func(list *[]string, line string) {
		guard.Lock()
		defer guard.Unlock()
		*list = append(*list, line)
	}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Name: "contended", Namespace: "default"},
			Client:     client,
			LockConfig: resourcelock.ResourceLockConfig{Identity: scenario.Identity},
		},
		LeaseDuration:   seconds(scenario.LeaseS),
		RenewDeadline:   seconds(scenario.RenewS),
		RetryPeriod:     seconds(scenario.RetryS),
		ReleaseOnCancel: true,
		Name:            scenario.Name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { note(&outcome.Calls, "started") },
			OnStoppedLeading: func() { note(&outcome.Calls, "stopped") },
			OnNewLeader:      func(identity string) { note(&outcome.Leaders, identity) },
		},
	})
	if err != nil {
		return &electionOutcome{Problem: err.Error()}
	}
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	go func() {
		// The answer comes when the server has seen what it waited for.
		if answer, err := http.Get(server + "/over/" + scenario.Name); err == nil {
			answer.Body.Close()
			stop()
		}
	}()
	elector.Run(ctx)
	guard.Lock()
	defer guard.Unlock()
	return outcome
}
