"""Errands: what runs on the device, by the Python that lies there.

The host sends the text of these modules and a request over standard input (`pipeline.devices.
remote_calls`), so nothing has to be installed first. Input after the modules: a line of JSON,
``{"call": name, "home": folder, ...}``, then whatever bytes the call takes. Output: a line of
JSON, ``{"answer": ...}`` or ``{"error": sentence}``, then whatever bytes it gives. Python 3.6 and
its standard library, nothing else: an old board must be able to say that it is too old.

The home folder holds::

    files/<sha256>        contents, each verified before it got its name
    trees/<name>/         bundles and sets of wheels, hard links to contents
    environments/<key>/   virtual environments; the link `environment` leads to the valid one
    runs/<id>/            reports, until the host has them
    lock                  held while something measures or changes the environment
"""
