// Checks the pods of Kubernetes objects against a Pod Security Standard, with the API server's own admission code.
//
// usage: pod-security LEVEL < MANIFESTS
//
//	LEVEL      privileged, baseline or restricted
//	MANIFESTS  YAML documents; those without a pod template are skipped
//
// Prints one line for each object with a pod template. Fails if a pod would be rejected, and if there is no pod template at all.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// The common fields of Pods, CronJobs and all objects with a pod template.
type workload struct {
	Kind              string `json:"kind"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              json.RawMessage `json:"spec"`
}

type templated struct {
	Template    *corev1.PodTemplateSpec `json:"template"`
	JobTemplate struct {
		Spec struct {
			Template *corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	} `json:"jobTemplate"`
}

// Returns nil if the object has no pods.
func (w *workload) pod() (*corev1.PodTemplateSpec, error) {
	if w.Kind == "Pod" {
		pod := &corev1.PodTemplateSpec{ObjectMeta: w.ObjectMeta}
		return pod, json.Unmarshal(w.Spec, &pod.Spec)
	}
	switch w.Kind {
	case "Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "Job", "CronJob":
	default:
		return nil, nil
	}
	spec := templated{}
	if err := json.Unmarshal(w.Spec, &spec); err != nil {
		return nil, err
	}
	if spec.Template == nil {
		spec.Template = spec.JobTemplate.Spec.Template
	}
	if spec.Template == nil {
		return nil, errors.New("no pod template")
	}
	return spec.Template, nil
}

// Sets the one default of the API server that the standards depend on: a volume without a source is an empty folder.
func setDefaults(pod *corev1.PodSpec) {
	for i := range pod.Volumes {
		if pod.Volumes[i].VolumeSource == (corev1.VolumeSource{}) {
			pod.Volumes[i].EmptyDir = &corev1.EmptyDirVolumeSource{}
		}
	}
}

func check(level api.Level, manifests io.Reader) error {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return err
	}
	standard := api.LevelVersion{Level: level, Version: api.LatestVersion()}
	documents := yaml.NewYAMLReader(bufio.NewReader(manifests))
	checked, rejected := 0, 0
	for {
		document, err := documents.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		object := workload{}
		if err := yaml.Unmarshal(document, &object); err != nil {
			return err
		}
		pod, err := object.pod()
		if err != nil {
			return fmt.Errorf("%s %s: %w", object.Kind, object.Name, err)
		}
		if pod == nil {
			continue
		}
		setDefaults(&pod.Spec)
		checked++
		result := policy.AggregateCheckResults(evaluator.EvaluatePod(standard, &pod.ObjectMeta, &pod.Spec))
		if result.Allowed {
			fmt.Printf("%s %s: %s\n", object.Kind, object.Name, level)
		} else {
			rejected++
			fmt.Printf("%s %s: violates PodSecurity %q: %s\n", object.Kind, object.Name, standard, result.ForbiddenDetail())
		}
	}
	if checked == 0 {
		return errors.New("no pods")
	}
	if rejected > 0 {
		return fmt.Errorf("%d of %d pods would be rejected", rejected, checked)
	}
	return nil
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: pod-security LEVEL < MANIFESTS")
		os.Exit(2)
	}
	level, err := api.ParseLevel(os.Args[1])
	if err == nil {
		err = check(level, os.Stdin)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
