"""The service as a thing to take elsewhere: a Bento, and a container image made of it.

python -m serving.shipping.bento    the champion, its code and what to install    (make bento)
python -m serving.shipping.image    the same as a container image                 (make image)

sources.py   the part of this repository that it runs
packages.py  what it has to have installed, to the version
bento.py     both, and the bundle, laid out in a folder
build.py     and built there, in a process of its own
shipped.py   what BentoML starts: the service in a Bento
image.py     the container image
"""
