package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	bufferBytes  = 256 << 10
	bookmarkTime = 30 * time.Second
)

type server struct {
	pods  preparedPods
	storm *storm
	at    map[string]int

	guard  sync.Mutex
	counts map[string]int
}

func newServer(pods preparedPods) *server {
	made := &server{pods: pods, storm: newStorm(pods), at: map[string]int{}, counts: map[string]int{}}
	for number, pod := range pods {
		made.at[pod.namespace+"/"+pod.name] = number
	}
	go func() {
		// Streams that wait for changes look up now and then: at their bookmarks and their end.
		for range time.Tick(250 * time.Millisecond) {
			made.storm.release(0)
		}
	}()
	return made
}

func (s *server) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	switch request.URL.Path {
	case "/storm":
		s.storm.start(answer, request)
		return
	case "/stats":
		s.stats(answer)
		return
	}
	query := request.URL.Query()
	isWatch := query.Get("watch") == "true" || query.Get("watch") == "1"
	s.count(request.Method, isWatch)
	answer.Header().Set("Content-Type", "application/json")
	switch {
	case request.URL.Path == "/api/v1/pods" && isWatch:
		s.watch(answer, request)
	case request.URL.Path == "/api/v1/pods" && request.Method == http.MethodGet:
		s.list(answer, request)
	case request.Method == http.MethodPatch && strings.Contains(request.URL.Path, "/pods/"):
		s.patch(answer, request)
	default:
		s.surroundings(answer, request, isWatch)
	}
}

func (s *server) count(method string, isWatch bool) {
	s.guard.Lock()
	defer s.guard.Unlock()
	if isWatch {
		method = "WATCH"
	}
	s.counts[method]++
}

func (s *server) stats(answer http.ResponseWriter) {
	s.guard.Lock()
	counts := maps.Clone(s.counts)
	s.guard.Unlock()
	json.NewEncoder(answer).Encode(map[string]any{"requests": counts, "changes": s.storm.now()})
}

// list answers like a watch cache: whole at any version, in pages only when asked for the newest state with a limit.
func (s *server) list(answer http.ResponseWriter, request *http.Request) {
	query := request.URL.Query()
	first, last, next := 0, len(s.pods), ""
	limit, _ := strconv.Atoi(query.Get("limit"))
	if limit > 0 && query.Get("resourceVersion") == "" {
		first, _ = strconv.Atoi(query.Get("continue"))
		if first+limit < last {
			last = first + limit
			next = fmt.Sprintf(`,"continue":"%d","remainingItemCount":%d`, last, len(s.pods)-last)
		}
	}
	out := bufio.NewWriterSize(answer, bufferBytes)
	defer out.Flush()
	fmt.Fprintf(out, `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"%d"%s},"items":[`, s.storm.version(0), next)
	for number, pod := range s.pods[first:last] {
		if number > 0 {
			out.WriteByte(',')
		}
		out.Write(pod.body)
	}
	out.WriteString("]}\n")
}

func (s *server) watch(answer http.ResponseWriter, request *http.Request) {
	query := request.URL.Query()
	ends := time.Now().Add(time.Hour)
	if limit, err := strconv.Atoi(query.Get("timeoutSeconds")); err == nil {
		ends = time.Now().Add(time.Duration(limit) * time.Second)
	}
	out := bufio.NewWriterSize(answer, bufferBytes)
	flush := func() {
		out.Flush()
		answer.(http.Flusher).Flush()
	}
	seen := 0
	if version, err := strconv.Atoi(query.Get("resourceVersion")); err == nil {
		seen = max(version-s.storm.version(0), 0)
	}
	buffer := make([]byte, 0, 32<<10)
	if query.Get("sendInitialEvents") == "true" {
		for _, pod := range s.pods {
			buffer = frame(buffer[:0], "ADDED", pod.body)
			out.Write(buffer)
		}
		seen = 0
		out.Write(bookmark(s.storm.version(0), `,"annotations":{"k8s.io/initial-events-end":"true"}`))
	}
	flush()
	marked := time.Now()
	for time.Now().Before(ends) {
		changes := s.storm.wait(seen)
		if request.Context().Err() != nil {
			return
		}
		for ; seen < changes; seen++ {
			buffer = s.storm.event(buffer[:0], seen)
			if _, err := out.Write(buffer); err != nil {
				return
			}
		}
		if query.Get("allowWatchBookmarks") == "true" && time.Since(marked) > bookmarkTime {
			out.Write(bookmark(s.storm.version(seen), ""))
			marked = time.Now()
		}
		flush()
	}
}

func bookmark(version int, annotations string) []byte {
	return fmt.Appendf(nil, `{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"%d",`+
		`"creationTimestamp":null%s},"spec":{"containers":null},"status":{}}}`+"\n", version, annotations)
}

// patch merges into the annotations and labels, which is where operators keep their notes, and tells every watch.
func (s *server) patch(answer http.ResponseWriter, request *http.Request) {
	parts := strings.Split(strings.TrimPrefix(request.URL.Path, "/api/v1/namespaces/"), "/")
	if len(parts) < 3 {
		http.Error(answer, "{}", http.StatusNotFound)
		return
	}
	number, found := s.at[parts[0]+"/"+parts[2]]
	var patch map[string]any
	if err := json.NewDecoder(request.Body).Decode(&patch); err != nil || !found {
		http.Error(answer, "{}", http.StatusNotFound)
		return
	}
	answer.Write(s.storm.write(func(version int) []byte {
		var pod map[string]any
		json.Unmarshal(s.pods[number].body, &pod)
		head := pod["metadata"].(map[string]any)
		head["resourceVersion"] = strconv.Itoa(version)
		changes, _ := patch["metadata"].(map[string]any)
		for _, field := range []string{"annotations", "labels"} {
			values, _ := head[field].(map[string]any)
			fresh, _ := changes[field].(map[string]any)
			maps.Copy(values, fresh)
		}
		body, _ := json.Marshal(pod)
		s.pods[number] = s.pods[number].with(body)
		return body
	}))
}

// surroundings is as much of an API server as clients look at on their way: discovery, and collections that are empty.
func (s *server) surroundings(answer http.ResponseWriter, request *http.Request, isWatch bool) {
	switch {
	case isWatch:
		answer.(http.Flusher).Flush()
		<-request.Context().Done()
	case request.Method == http.MethodPost:
		answer.WriteHeader(http.StatusCreated)
		fmt.Fprintln(answer, `{"kind":"Event","apiVersion":"v1","metadata":{"name":"noted"}}`)
	case request.URL.Path == "/version":
		fmt.Fprintln(answer, `{"major":"1","minor":"37","gitVersion":"v1.37.2"}`)
	case request.URL.Path == "/api":
		fmt.Fprintln(answer, `{"kind":"APIVersions","versions":["v1"]}`)
	case request.URL.Path == "/apis":
		fmt.Fprintln(answer, `{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"apiextensions.k8s.io",`+
			`"versions":[{"groupVersion":"apiextensions.k8s.io/v1","version":"v1"}],`+
			`"preferredVersion":{"groupVersion":"apiextensions.k8s.io/v1","version":"v1"}}]}`)
	case request.URL.Path == "/apis/apiextensions.k8s.io/v1":
		fmt.Fprintln(answer, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"apiextensions.k8s.io/v1","resources":[`+
			`{"name":"customresourcedefinitions","singularName":"customresourcedefinition","namespaced":false,`+
			`"kind":"CustomResourceDefinition","verbs":["get","list","watch"]}]}`)
	case request.URL.Path == "/api/v1":
		fmt.Fprintln(answer, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"v1","resources":[`+
			`{"name":"namespaces","singularName":"namespace","namespaced":false,"kind":"Namespace","verbs":["get","list","watch"]},`+
			`{"name":"pods","singularName":"pod","namespaced":true,"kind":"Pod","verbs":["get","list","watch","patch"],"shortNames":["po"]}]}`)
	default:
		fmt.Fprintln(answer, `{"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"1000000000"},"items":[]}`)
	}
}
