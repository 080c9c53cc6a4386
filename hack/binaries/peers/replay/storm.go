package main

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// storm is the one history of changes: the n-th one is a function of n, so every stream can be served from anywhere in
// it. Only changes that clients wrote themselves are kept.
type storm struct {
	pods    preparedPods
	guard   sync.Mutex
	news    *sync.Cond
	changes int
	written map[int][]byte
}

func newStorm(pods preparedPods) *storm {
	made := &storm{pods: pods, written: map[int][]byte{}}
	made.news = sync.NewCond(&made.guard)
	return made
}

// version is the resource version of the collection after so many changes.
func (s *storm) version(changes int) int { return firstVersion + len(s.pods) + changes }

// wait returns how many changes there are once there are more than `seen`, or when something else may have happened.
func (s *storm) wait(seen int) int {
	s.guard.Lock()
	defer s.guard.Unlock()
	if s.changes <= seen {
		s.news.Wait()
	}
	return s.changes
}

func (s *storm) now() int {
	s.guard.Lock()
	defer s.guard.Unlock()
	return s.changes
}

// release makes further changes known.
func (s *storm) release(count int) {
	s.guard.Lock()
	defer s.guard.Unlock()
	s.changes += count
	s.news.Broadcast()
}

// write makes a change that a client asked for known, and returns the object as it is now.
func (s *storm) write(make func(version int) []byte) []byte {
	s.guard.Lock()
	defer s.guard.Unlock()
	body := make(s.version(s.changes + 1))
	s.written[s.changes] = body
	s.changes++
	s.news.Broadcast()
	return body
}

// event appends the n-th change (from 0) as a line of a watch.
func (s *storm) event(into []byte, number int) []byte {
	s.guard.Lock()
	body, found := s.written[number]
	pod := s.pods[number%len(s.pods)]
	s.guard.Unlock()
	if found {
		return frame(into, "MODIFIED", body)
	}
	start := len(into)
	into = frame(into, "MODIFIED", pod.body)
	at := start + len(into[start:]) - len(trailer) - len(pod.body)
	number10(into[at+pod.versionAt:], s.version(number+1))
	number10(into[at+pod.countAt:], number+1)
	return into
}

const trailer = "}\n"

// frame appends one line of a watch. An object in a watch has kind and apiVersion, which bodies of lists leave out.
func frame(into []byte, kind string, body []byte) []byte {
	into = append(into, `{"type":"`...)
	into = append(into, kind...)
	into = append(into, `","object":{"kind":"Pod","apiVersion":"v1",`...)
	into = append(into, body[1:]...)
	return append(into, trailer...)
}

// number10 overwrites ten digits.
func number10(into []byte, value int) {
	for at := digits - 1; at >= 0; at-- {
		into[at] = byte('0' + value%10)
		value /= 10
	}
}

// start answers POST /storm?count=N&rate=R: N changes, R a second, or as fast as they are taken when R is 0.
func (s *storm) start(answer http.ResponseWriter, request *http.Request) {
	count, err := strconv.Atoi(request.URL.Query().Get("count"))
	if err != nil {
		http.Error(answer, "count: must be a number of changes", http.StatusBadRequest)
		return
	}
	rate, _ := strconv.ParseFloat(request.URL.Query().Get("rate"), 64)
	if rate <= 0 {
		s.release(count)
	} else {
		go s.pace(count, rate)
	}
	fmt.Fprintln(answer, "{}")
}

func (s *storm) pace(count int, rate float64) {
	started, sent := time.Now(), 0
	for sent < count {
		time.Sleep(time.Millisecond)
		due := min(int(time.Since(started).Seconds()*rate), count)
		if due > sent {
			s.release(due - sent)
			sent = due
		}
	}
}
