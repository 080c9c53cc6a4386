"""Label selectors: matchLabels and matchExpressions, both honoured."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from kaito_controller.kube.declaration import CelRule, rules, schema

IN = "In"
NOT_IN = "NotIn"
EXISTS = "Exists"
DOES_NOT_EXIST = "DoesNotExist"

_KEY_PATTERN = "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
_VALUE_PATTERN = "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"

LABEL_KEY_LENGTH = 317
LABEL_VALUE_LENGTH = 63


@rules(
    CelRule(
        rule="self.operator in ['Exists', 'DoesNotExist'] ? (!has(self.values) || self.values.size() == 0)"
        " : (has(self.values) && self.values.size() > 0)",
        message="values: In and NotIn need at least one value, Exists and DoesNotExist take none;"
        " give values that go with the operator",
        found="'operator ' + self.operator",
        field_path=".values",
    ),
    CelRule(
        rule=f"self.key.matches('{_KEY_PATTERN}')",
        message="key: must be a label's key, a name with an optional DNS prefix such as example.com/size; correct it",
        found="self.key",
        field_path=".key",
    ),
    CelRule(
        rule=f"!has(self.values) || self.values.all(value, value.matches('{_VALUE_PATTERN}'))",
        message="values: each must be a label's value: letters, digits, '-', '_' and '.', beginning and ending with a"
        " letter or digit; correct those that are not",
        field_path=".values",
    ),
)
@frozen(kw_only=True)
class LabelExpression:
    """One requirement on one label."""

    key: str = field(metadata=schema("The label's key.", min_length=1, max_length=LABEL_KEY_LENGTH))
    operator: str = field(
        metadata=schema("How the label's value relates to `values`.", enum=(IN, NOT_IN, EXISTS, DOES_NOT_EXIST))
    )
    values: tuple[str, ...] = field(
        default=(),
        metadata=schema(
            "The values, for In and NotIn; none for Exists and DoesNotExist.",
            max_items=64,
            item={"max_length": LABEL_VALUE_LENGTH},
            list_type="atomic",
        ),
    )

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet this requirement; NotIn is met by an absent label, as in Kubernetes."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels
            case _:
                return False

    def __str__(self) -> str:
        match self.operator:
            case "In":
                return f"{self.key} in ({','.join(self.values)})"
            case "NotIn":
                return f"{self.key} notin ({','.join(self.values)})"
            case "DoesNotExist":
                return f"!{self.key}"
            case _:
                return self.key


@frozen(kw_only=True)
class LabelSelector:
    """Which objects are meant, by their labels; all requirements must hold. An empty selector matches everything."""

    match_labels: Mapping[str, str] = field(
        factory=dict,
        metadata=schema(
            "Labels with the exact values that an object must carry.",
            max_properties=64,
            item={"max_length": LABEL_VALUE_LENGTH},
            rules=(
                CelRule(
                    rule=f"self.all(key, key.size() <= {LABEL_KEY_LENGTH} && key.matches('{_KEY_PATTERN}')"
                    f" && self[key].matches('{_VALUE_PATTERN}'))",
                    message="matchLabels: keys and values must be those of labels, such as example.com/size: big;"
                    " correct those that are not",
                ),
            ),
        ),
    )
    match_expressions: tuple[LabelExpression, ...] = field(
        default=(), metadata=schema("Requirements on labels beyond equality.", max_items=32, list_type="atomic")
    )

    @property
    def is_empty(self) -> bool:
        """Whether it requires nothing."""
        return not self.match_labels and not self.match_expressions

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet every requirement."""
        equal = all(labels.get(key) == value for key, value in self.match_labels.items())
        return equal and all(expression.matches(labels) for expression in self.match_expressions)

    def requirements(self) -> tuple[LabelExpression, ...]:
        """Everything it requires as expressions, in a stable order: for a node affinity term."""
        exact = tuple(
            LabelExpression(key=key, operator=IN, values=(value,)) for key, value in sorted(self.match_labels.items())
        )
        return exact + self.match_expressions

    def __str__(self) -> str:
        """The form of a `labelSelector` query parameter."""
        exact = [f"{key}={value}" for key, value in sorted(self.match_labels.items())]
        return ",".join([*exact, *(str(expression) for expression in self.match_expressions)])
