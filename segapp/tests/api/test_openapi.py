"""The API's description: whole, true to the code, and usable."""

import json

import pytest
from jsonschema import Draft202012Validator

from segapp.api import openapi
from segapp.api.urls import urlpatterns
from segapp.services import errors
from segapp.tests.api import conformance

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@pytest.fixture(scope="module")
def document():
    return json.loads(json.dumps(openapi.document()))


def every(document):
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_address_of_the_api_is_described():
    undescribed = [str(pattern.pattern) for pattern in urlpatterns if not hasattr(pattern.callback, "operations")]
    assert undescribed == ["docs"], "a page, for people"


def test_a_method_that_is_not_described_is_a_405_in_the_usual_shape(alice, document):
    for path, described in document["paths"].items():
        url = path.replace("{", "").replace("}", "")
        for method in METHODS:
            if method.lower() not in described:
                response = alice.generic(method, url)
                assert response.status_code == 405, (method, path)
                assert response.json()["error"]["code"] == "method_not_allowed"
                assert set(response["Allow"].lower().split(", ")) == set(described)


def test_every_operation_is_described_in_full(document):
    ids = [operation["operationId"] for _, _, operation in every(document)]
    assert len(ids) == len(set(ids)) > 25
    for path, method, operation in every(document):
        where = (method, path)
        assert operation["summary"] and operation["description"] and operation["security"], where
        assert operation["tags"][0] in openapi.GROUPS, where
        assert {"400", "401", "500", "503"} <= operation["responses"].keys(), where
        for parameter in operation.get("parameters", []):
            assert parameter["description"], where
        for content in operation.get("requestBody", {}).get("content", {}).values():
            fields = content["schema"]["properties"]
            assert all(field["description"] for field in fields.values()), where
            assert content["example"].keys() <= fields.keys(), where


def test_every_field_of_every_answer_is_described_or_speaks_for_itself(document):
    plain = {"name", "color", "error", "message", "classes", "base", "width", "height", "total", "done", "failed"}
    for name, schema in document["components"]["schemas"].items():
        for field, part in schema["properties"].items():
            told = {"description", "examples", "$ref", "items", "anyOf"} & part.keys()
            assert told or field in plain, (name, field)


def test_every_example_is_what_its_schema_allows(document):
    for path, method, operation in every(document):
        for status, answer in operation["responses"].items():
            if "$ref" in answer:
                answer = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
            content = answer.get("content", {}).get("application/json")
            if content is None:
                continue
            check = Draft202012Validator({**content["schema"], "components": document["components"]})
            examples = [content["example"]] if "example" in content else []
            for value in [*examples, *(found["value"] for found in content.get("examples", {}).values())]:
                check.validate(value)
                assert value, (path, method, status)


def test_the_description_is_one_of_openapi_3_1(document):
    assert document["openapi"] == "3.1.0"
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    text = json.dumps(document)
    for name in {part.split('"')[0] for part in text.split('"$ref": "#/components/')[1:]}:
        kind, _, key = name.partition("/")
        assert key in document["components"][kind], name


def test_it_is_served_to_everybody(client, db):
    response = client.get("/api/openapi.json")
    assert response.status_code == 200
    assert response.json()["paths"]["/api/segment"]["post"]["requestBody"]["content"]["multipart/form-data"]


def test_an_answer_that_is_not_described_is_found(alice):
    response = alice.get("/api/models")
    assert conformance.problems_of("GET", "/api/models", response) == []
    response.json = lambda: {"models": [], "surprise": 1}
    assert "surprise" in conformance.problems_of("GET", "/api/models", response)[0]
    response.json = dict
    assert "models" in conformance.problems_of("GET", "/api/models", response)[0]
    response.status_code = 418
    assert "418" in conformance.problems_of("GET", "/api/models", response)[0]
    response.status_code = 409
    response.json = lambda: {"error": {"code": "unheard", "message": "Of."}}
    assert "409" in conformance.problems_of("GET", "/api/models", response)[0]


def test_errors_of_a_status_name_their_codes(document):
    answer = document["paths"]["/api/finetune"]["post"]["responses"]["409"]["$ref"].rpartition("/")[2]
    found = document["components"]["responses"][answer]
    assert list(found["content"]["application/json"]["examples"]) == ["already_training"]
    assert "Location" in found["headers"]
    assert errors.RateLimited.code in json.dumps(document["components"]["responses"])
