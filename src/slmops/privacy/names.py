"""Names and addresses of persons, which no pattern finds: through Presidio and a spaCy model, if the user has them.

In comes a language, out goes a function that finds names and places in a text. Downloads nothing: the model is
installed by the user. Knows no masks.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from slmops.core.errors import MissingExtraError, need
from slmops.privacy.mask import FindNames
from slmops.privacy.types import Found

_KINDS = {"PERSON": "name", "LOCATION": "address"}
_LEAST_SCORE = 0.5


def names_finder(language: str = "en", model: str | None = None) -> FindNames:
    """Finds names and places by the spaCy `model`, the small one of the language unless given.

    Raises:
        MissingExtraError: Presidio or the model is not installed.
    """
    provider = need("presidio_analyzer.nlp_engine", "names").NlpEngineProvider
    analyzer = need("presidio_analyzer", "names")
    model = model or f"{language}_core_{'web' if language in ('en', 'zh') else 'news'}_sm"
    if importlib.util.find_spec(model) is None:  # Presidio itself would fetch it, and end the process where it cannot
        raise MissingExtraError(
            f"names in {language!r} need the spaCy model {model}, which is not installed",
            remedy=f"python -m spacy download {model}",
        )
    models = [{"lang_code": language, "model_name": model}]
    engine = provider(nlp_configuration={"nlp_engine_name": "spacy", "models": models}).create_engine()
    registry = analyzer.RecognizerRegistry(supported_languages=[language])
    registry.add_recognizer(
        need("presidio_analyzer.predefined_recognizers", "names").SpacyRecognizer(
            supported_language=language, supported_entities=list(_KINDS)
        )
    )
    engine_of = analyzer.AnalyzerEngine(nlp_engine=engine, registry=registry, supported_languages=[language])

    def find_names(text: str) -> Sequence[Found]:
        results = engine_of.analyze(text, language=language, score_threshold=_LEAST_SCORE)
        return [Found(_KINDS[result.entity_type], result.start, result.end) for result in results]

    return find_names
