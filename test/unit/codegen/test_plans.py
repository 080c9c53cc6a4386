"""The page of all plans is about all of them."""

from __future__ import annotations

from codegen import plans

from kaito_controller.catalog import loader


def test_every_preset_and_every_instance_type_is_on_the_page():
    """Each machine stands in each model's section, with a plan or a reason, but for those that no model runs on."""
    catalog = loader.load()
    page = plans.page(catalog)
    head, *sections = page.split("\n### ")
    assert [section.split("\n")[0] for section in sections] == [
        preset.name for preset in sorted(catalog.presets, key=lambda one: (one.family, one.name))
    ]
    assert all(sku.name in head for sku in catalog.skus)
    machines = plans.machines_of(catalog.skus)
    never = {name for name in machines if f"\n- {name}: " in head}
    for section in sections:
        missing = [name for name in machines if name not in never and f" {name}" not in section]
        assert missing == [], section.split("\n")[0]
