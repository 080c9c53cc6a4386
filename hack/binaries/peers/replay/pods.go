package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const (
	// Versions have ten digits for ever, so that an event is a copy of the pod with some bytes replaced.
	firstVersion = 1_000_000_000
	// sequence is an annotation that every change counts up: a change that consumers cannot pass over.
	sequence     = "bench.kaito.local/sequence"
	versionField = `"resourceVersion":"`
	countField   = `"` + sequence + `":"`
	digits       = 10
)

// prepared is a pod as JSON without kind and apiVersion, which lists leave out, and where its changing digits stand.
type prepared struct {
	body      []byte
	namespace string
	name      string
	versionAt int
	countAt   int
}

type preparedPods []prepared

func preparePods(count int) (preparedPods, error) {
	random := rand.New(rand.NewSource(1))
	pods := make(preparedPods, count)
	for number := range pods {
		pod := newPod(random, number)
		body, err := json.Marshal(pod)
		if err != nil {
			return nil, err
		}
		pods[number] = prepared{namespace: pod.Namespace, name: pod.Name}.with(body)
	}
	return pods, nil
}

// with is the pod in another state.
func (p prepared) with(body []byte) prepared {
	p.body = body
	p.versionAt = bytes.Index(body, []byte(versionField)) + len(versionField)
	p.countAt = bytes.Index(body, []byte(countField)) + len(countField)
	return p
}

func (p preparedPods) meanBytes() int {
	total := 0
	for _, pod := range p {
		total += len(pod.body)
	}
	return total / max(len(p), 1)
}

// newPod is a pod of a Deployment as a cluster has them: two containers, probes, a projected token, the conditions and
// container states of a running pod, and what two field managers own. About 9 KB as JSON.
func newPod(random *rand.Rand, number int) *corev1.Pod {
	app := fmt.Sprintf("service-%03d", number%250)
	namespace := fmt.Sprintf("team-%02d", number%20)
	created := metav1.NewTime(time.Date(2026, 11, 1, 0, 0, number%86_400, 0, time.UTC))
	node := fmt.Sprintf("node-%04d", number/30)
	name := fmt.Sprintf("%s-%08x-%05x", app, 0xabc00000+number%250, number)
	digest := fmt.Sprintf("%064x", random.Uint64())
	yes := true
	image := "registry.example.com/platform/" + app
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:              name,
			GenerateName:      fmt.Sprintf("%s-%08x-", app, 0xabc00000+number%250),
			Namespace:         namespace,
			UID:               types.UID(fmt.Sprintf("%08x-0000-4000-8000-%012x", number, random.Int63n(1<<47))),
			ResourceVersion:   fmt.Sprintf("%010d", firstVersion+number),
			CreationTimestamp: created,
			Labels: map[string]string{
				"app.kubernetes.io/name": app, "app.kubernetes.io/instance": app + "-production",
				"app.kubernetes.io/version": "4.17.2", "app.kubernetes.io/managed-by": "Helm",
				"pod-template-hash": fmt.Sprintf("%08x", 0xabc00000+number%250), "team": namespace,
			},
			Annotations: map[string]string{
				sequence: "0000000000", "prometheus.io/scrape": "true", "prometheus.io/port": "9090",
				"checksum/config":                   digest,
				"kubectl.kubernetes.io/restartedAt": "2026-11-01T08:15:00Z",
				"cni.example.com/pod-ips":           fmt.Sprintf("10.%d.%d.%d/32", number>>16&255, number>>8&255, number&255),
			},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: fmt.Sprintf("%s-%08x", app, 0xabc00000+number%250),
				UID:        types.UID(fmt.Sprintf("%08x-0000-4000-9000-000000000000", number%250)),
				Controller: &yes, BlockOwnerDeletion: &yes,
			}},
			ManagedFields: []metav1.ManagedFieldsEntry{
				{Manager: "kube-controller-manager", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1",
					Time: &created, FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: []byte(specFields)}},
				{Manager: "kubelet", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", Time: &created,
					FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: []byte(statusFields)}, Subresource: "status"},
			},
		},
		Spec: corev1.PodSpec{
			NodeName: node, ServiceAccountName: app, DeprecatedServiceAccount: app,
			RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSClusterFirst, SchedulerName: "default-scheduler",
			EnableServiceLinks: &yes, SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes},
			Containers: []corev1.Container{newContainer(app, image, 10), newContainer("proxy", image+"-proxy", 3)},
			Tolerations: []corev1.Toleration{
				{Key: "node.kubernetes.io/not-ready", Operator: "Exists", Effect: "NoExecute"},
				{Key: "node.kubernetes.io/unreachable", Operator: "Exists", Effect: "NoExecute"},
			},
			Volumes: newVolumes(app),
		},
		Status: newStatus(app, image, digest, created, number),
	}
	return pod
}

func newContainer(name, image string, variables int) corev1.Container {
	probe := &corev1.Probe{
		ProbeHandler:        corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(9090), Scheme: "HTTP"}},
		InitialDelaySeconds: 5, TimeoutSeconds: 1, PeriodSeconds: 10, SuccessThreshold: 1, FailureThreshold: 3,
	}
	env := []corev1.EnvVar{
		{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.name"}}},
		{Name: "POD_IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "status.podIP"}}},
	}
	for number := range variables {
		env = append(env, corev1.EnvVar{
			Name:  fmt.Sprintf("SERVICE_SETTING_%02d", number),
			Value: fmt.Sprintf("http://backend-%02d.platform.svc.cluster.local:8080/v1", number),
		})
	}
	return corev1.Container{
		Name: name, Image: image + ":4.17.2", ImagePullPolicy: corev1.PullIfNotPresent,
		Args:  []string{"--config=/etc/service/config.yaml", "--log-format=json", "--listen=:8080"},
		Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: "TCP"}, {Name: "metrics", ContainerPort: 9090, Protocol: "TCP"}},
		Env:   env,
		Resources: corev1.ResourceRequirements{
			Limits:   corev1.ResourceList{"memory": resource.MustParse("512Mi")},
			Requests: corev1.ResourceList{"cpu": resource.MustParse("250m"), "memory": resource.MustParse("512Mi")},
		},
		LivenessProbe: probe, ReadinessProbe: probe,
		VolumeMounts: []corev1.VolumeMount{
			{Name: "config", MountPath: "/etc/service", ReadOnly: true},
			{Name: "kube-api-access", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount", ReadOnly: true},
		},
		TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: "File",
	}
}

func newVolumes(app string) []corev1.Volume {
	mode, expiry := int32(420), int64(3607)
	return []corev1.Volume{
		{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: app}, DefaultMode: &mode,
		}}},
		{Name: "kube-api-access", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			DefaultMode: &mode,
			Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{ExpirationSeconds: &expiry, Path: "token"}},
				{ConfigMap: &corev1.ConfigMapProjection{
					LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"},
					Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
				}},
			},
		}}},
	}
}

func newStatus(app, image, digest string, created metav1.Time, number int) corev1.PodStatus {
	address := fmt.Sprintf("10.%d.%d.%d", number>>16&255, number>>8&255, number&255)
	status := corev1.PodStatus{
		Phase: corev1.PodRunning, HostIP: "192.0.2.7", PodIP: address, StartTime: &created, QOSClass: corev1.PodQOSBurstable,
		HostIPs: []corev1.HostIP{{IP: "192.0.2.7"}}, PodIPs: []corev1.PodIP{{IP: address}},
	}
	for _, kind := range []corev1.PodConditionType{
		"PodReadyToStartContainers", corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled,
	} {
		status.Conditions = append(status.Conditions, corev1.PodCondition{Type: kind, Status: "True", LastTransitionTime: created})
	}
	started := true
	for _, container := range []struct{ name, image string }{{app, image}, {"proxy", image + "-proxy"}} {
		status.ContainerStatuses = append(status.ContainerStatuses, corev1.ContainerStatus{
			Name: container.name, Image: container.image + ":4.17.2", ImageID: container.image + "@sha256:" + digest,
			ContainerID: "containerd://" + digest, Ready: true, Started: &started, RestartCount: int32(number % 3),
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: created}},
		})
	}
	return status
}

// What a controller manager and a kubelet own of such a pod, in the form in which servers send it.
const (
	specFields = `{"f:metadata":{"f:annotations":{".":{},"f:checksum/config":{},"f:prometheus.io/port":{},"f:prometheus.io/scrape":{}},` +
		`"f:generateName":{},"f:labels":{".":{},"f:app.kubernetes.io/instance":{},"f:app.kubernetes.io/managed-by":{},"f:app.kubernetes.io/name":{},` +
		`"f:app.kubernetes.io/version":{},"f:pod-template-hash":{},"f:team":{}},"f:ownerReferences":{".":{},"k:{\"uid\":\"00000000-0000-4000-9000-000000000000\"}":{}}},` +
		`"f:spec":{"f:containers":{"k:{\"name\":\"service\"}":{".":{},"f:args":{},"f:env":{".":{},"k:{\"name\":\"POD_IP\"}":{".":{},"f:name":{},"f:valueFrom":{".":{},"f:fieldRef":{}}},` +
		`"k:{\"name\":\"POD_NAME\"}":{".":{},"f:name":{},"f:valueFrom":{".":{},"f:fieldRef":{}}}},"f:image":{},"f:imagePullPolicy":{},"f:livenessProbe":{".":{},"f:failureThreshold":{},` +
		`"f:httpGet":{".":{},"f:path":{},"f:port":{},"f:scheme":{}},"f:initialDelaySeconds":{},"f:periodSeconds":{},"f:successThreshold":{},"f:timeoutSeconds":{}},"f:name":{},` +
		`"f:ports":{".":{},"k:{\"containerPort\":8080,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:name":{},"f:protocol":{}}},"f:resources":{".":{},"f:limits":{".":{},"f:memory":{}},` +
		`"f:requests":{".":{},"f:cpu":{},"f:memory":{}}},"f:terminationMessagePath":{},"f:terminationMessagePolicy":{},"f:volumeMounts":{".":{},"k:{\"mountPath\":\"/etc/service\"}":{".":{},` +
		`"f:mountPath":{},"f:name":{},"f:readOnly":{}}}}},"f:dnsPolicy":{},"f:enableServiceLinks":{},"f:restartPolicy":{},"f:schedulerName":{},"f:securityContext":{".":{},"f:runAsNonRoot":{}},` +
		`"f:serviceAccount":{},"f:serviceAccountName":{},"f:volumes":{".":{},"k:{\"name\":\"config\"}":{".":{},"f:configMap":{".":{},"f:defaultMode":{},"f:name":{}},"f:name":{}}}}}`
	statusFields = `{"f:status":{"f:conditions":{"k:{\"type\":\"ContainersReady\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}},` +
		`"k:{\"type\":\"Initialized\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}},"k:{\"type\":\"PodReadyToStartContainers\"}":{".":{},` +
		`"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}},"k:{\"type\":\"Ready\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}}},` +
		`"f:containerStatuses":{},"f:hostIP":{},"f:hostIPs":{},"f:phase":{},"f:podIP":{},"f:podIPs":{".":{},"k:{\"ip\":\"10.0.0.1\"}":{".":{},"f:ip":{}}},"f:startTime":{}}}`
)
