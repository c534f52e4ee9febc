"""Static files under names that hold their content's hash, the imports between this site's JavaScript modules included.

Scripts of installed packages are left alone: comments in them hold examples of imports that lead nowhere, which
Django's own `support_js_module_import_aggregation` fails on.
"""

from whitenoise.storage import CompressedManifestStaticFilesStorage

IMPORT = r"""(?m)^(?P<matched>import (?P<what>[^;"']+) from "(?P<url>\.{1,2}/[^"]+)";)"""


class ModuleStaticFilesStorage(CompressedManifestStaticFilesStorage):
    """Modules import each other by hashed names, so that browsers may keep every one of them for good."""

    patterns = (
        *CompressedManifestStaticFilesStorage.patterns,
        ("js/*.js", ((IMPORT, 'import %(what)s from "%(url)s";'),)),
    )
