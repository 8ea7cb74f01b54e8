"""The service as a thing to take elsewhere: a Bento, and a container image made of it.

python -m serving.shipping.bento    the champion, its code and what to install    (make bento)
python -m serving.shipping.image    the same as a container image                 (make image)

packages.py   what a service has to have installed, to the version
sources.py    the part of this repository that it runs
"""
